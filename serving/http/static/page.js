// The worker's page: voices, speech that plays while it is made, clones, conversions, the watermark.

const RATE = 24000;
const FORMATS = ["wav", "mp3", "opus", "aac", "flac", "ogg", "pcm", "ulaw"];
const BUILT_IN = ""; // the value of the built-in voice
const CHOICES = ["model", "language"];
const PARAMETERS = ["speed", "seed", "exaggeration", "cfg_weight", "temperature"];
const KEY = "key";
const LONGEST_RECORDING_S = 60;

const at = (id) => document.getElementById(id);
let voices = [];
let models = []; // each with its languages
let spoken = null; // the last speech: its job, its samples and its receipt
let running = null; // the controller of the request that runs
let recording = null; // what the microphone gave

// --- requests

function headers(extra = {}) {
  const key = sessionStorage.getItem(KEY);
  return key ? { ...extra, "X-API-Key": key } : extra;
}

async function ask(path, options = {}) {
  const reply = await fetch(path, { ...options, headers: headers(options.headers) });
  if (reply.status === 401) at("key-form").hidden = false;
  if (!reply.ok) throw new Error(await sentence(reply));
  return reply;
}

async function sentence(reply) {
  const text = await reply.text();
  try {
    const { error } = JSON.parse(text);
    return typeof error === "string" ? error.replace(/^\w+: /, "") : error.message;
  } catch {
    return `the worker answered with status ${reply.status}`;
  }
}

function job(operation, fields, signal, extra = {}) {
  const body = JSON.stringify(fields);
  const named = { "Content-Type": "application/json", ...extra };
  return ask(`/jobs/${operation}`, { method: "POST", body, signal, headers: named });
}

function show(error) {
  const message = error instanceof TypeError ? "the worker cannot be reached" : error.message;
  at("error").textContent = message;
  at("error").hidden = false;
}

function clear() {
  at("error").hidden = true;
}

async function attempt(work) {
  clear();
  try {
    await work();
  } catch (error) {
    if (error.name !== "AbortError") show(error);
  }
}

async function* events(reply) {
  const reader = reply.body.pipeThrough(new TextDecoderStream()).getReader();
  let waiting = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    waiting += value;
    const parts = waiting.split("\n\n");
    waiting = parts.pop();
    for (const part of parts) yield JSON.parse(part.replace(/^data: /, ""));
  }
}

// --- health, voices, models

async function watch() {
  const said = { 200: "ready", 204: "loading the model …", 503: "leaving" };
  try {
    const { status } = await fetch("/ping");
    const text = said[status] ?? `status ${status}`;
    if (status === 200 && at("health").textContent !== text) attempt(load);
    at("health").textContent = text;
  } catch {
    at("health").textContent = "cannot be reached";
  }
  setTimeout(watch, 5000);
}

async function load() {
  const listed = (await (await ask("/v1/models")).json()).data;
  models = listed.filter((model) => !/^(tts|gpt)-/.test(model.id));
  const chosen = at("model").value;
  at("model").replaceChildren(
    new Option(models.length > 1 ? "by language" : models[0].id, ""),
    ...(models.length > 1 ? models.map((model) => new Option(model.id, model.id)) : []),
  );
  if (models.some((model) => model.id === chosen)) at("model").value = chosen;
  offerLanguages();
  voices = (await (await job("list_voices", {})).json()).voices;
  at("key-form").hidden = true;
  list();
}

function offerLanguages() {
  const names = new Intl.DisplayNames(["en"], { type: "language" });
  const asked = models.filter((model) => [model.id, ""].includes(at("model").value));
  const codes = [...new Set(asked.flatMap((model) => model.languages))];
  const chosen = at("language").value;
  const options = codes.map((code) => new Option(`${names.of(code)} (${code})`, code));
  at("language").replaceChildren(new Option("the voice's", ""), ...options);
  at("language").value = codes.includes(chosen) ? chosen : "";
}

function list() {
  for (const select of [at("voice"), at("target")]) {
    const chosen = select.value;
    const options = voices.map((voice) => new Option(voice.speaker_name, voice.voice_id));
    select.replaceChildren(new Option("built-in voice", BUILT_IN), ...options);
    select.value = voices.some((voice) => voice.voice_id === chosen) ? chosen : BUILT_IN;
  }
  const wanted = at("search").value.trim().toLocaleLowerCase();
  const matches = (voice) =>
    [voice.speaker_name, voice.description ?? "", voice.voice_id, ...voice.tags, ...voice.aliases].some((text) =>
      text.toLocaleLowerCase().includes(wanted),
    );
  const found = voices.filter(matches);
  at("voices").replaceChildren(...found.map(entry));
  at("no-voices").hidden = found.length > 0;
  at("no-voices").textContent = voices.length ? "None matches." : "There are none yet.";
}

function entry(voice) {
  const item = document.createElement("li");
  const name = document.createElement("span");
  name.textContent = `${voice.speaker_name} · ${voice.duration ?? "?"} s · ${voice.voice_id}`;
  const buttons = document.createElement("span");
  buttons.className = "row";
  const use = button("Use", `Use ${voice.speaker_name}`, () => {
    at("voice").value = voice.voice_id;
    describe();
    at("text").focus();
  });
  const remove = button("Delete", `Delete ${voice.speaker_name}`, () => {
    if (!confirm(`Delete the voice ${voice.speaker_name}? There is no way back.`)) return;
    attempt(async () => {
      await job("delete_voice", { voice_id: voice.voice_id, confirm: true });
      await load();
    });
  });
  buttons.append(use, remove);
  item.append(name, buttons);
  return item;
}

function button(text, label, action) {
  const made = document.createElement("button");
  made.type = "button";
  made.textContent = text;
  made.setAttribute("aria-label", label);
  made.addEventListener("click", action);
  return made;
}

// --- speech

function fields() {
  const asked = { text: at("text").value };
  if (at("voice").value !== BUILT_IN) asked.voice_id = at("voice").value;
  for (const name of CHOICES) {
    if (at(name).value !== "") asked[name] = at(name).value;
  }
  for (const name of PARAMETERS) {
    const { value } = at(name);
    if (value !== "") asked[name] = Number(value);
  }
  return asked;
}

function describe() {
  const body = JSON.stringify({ ...fields(), format: at("format").value, mode: "streaming" }).replaceAll("'", "'\\''");
  const key = sessionStorage.getItem(KEY) ? ' -H "X-API-Key: $API_KEY"' : "";
  at("curl").textContent =
    `curl ${location.origin}/jobs/tts${key} -H "Content-Type: application/json" -H "Accept: audio/*" \\\n` +
    `  -d '${body}' -o speech.${at("format").value}`;
}

class Sound {
  // A context of its own for each speech: closing it ends all sound at once.
  static async start() {
    const sound = new Sound();
    sound.context = new AudioContext({ sampleRate: RATE });
    await sound.context.audioWorklet.addModule("/static/player.js");
    sound.node = new AudioWorkletNode(sound.context, "player", { outputChannelCount: [1] });
    sound.node.connect(sound.context.destination);
    sound.node.port.onmessage = ({ data }) => {
      sound.played = data / RATE;
      progress();
    };
    await sound.context.resume();
    return sound;
  }

  play(samples) {
    this.node.port.postMessage(samples);
  }

  stop() {
    this.context.close();
  }
}

let sound = null;

function progress() {
  if (!spoken) return;
  const made = spoken.samples.length / RATE;
  const state = running ? "speaking" : spoken.receipt ? "done" : "stopped";
  const rest = spoken.first === null ? "" : `, first audio after ${spoken.first.toFixed(2)} s`;
  Object.assign(at("progress").dataset, { state, made, played: sound?.played ?? 0 });
  at("progress").textContent = `${state}: ${made.toFixed(1)} s made, ${(sound?.played ?? 0).toFixed(1)} s played${rest}`;
}

function bytesOf(base64) {
  return Uint8Array.from(atob(base64), (char) => char.charCodeAt(0));
}

function decode(base64) {
  const bytes = bytesOf(base64);
  const samples = new Float32Array(bytes.length / 2);
  const view = new DataView(bytes.buffer);
  for (let index = 0; index < samples.length; index++) samples[index] = view.getInt16(2 * index, true) / 32768;
  return samples;
}

class Samples {
  // All samples of a speech, in an array that grows.
  constructor() {
    this.held = new Float32Array(RATE);
    this.length = 0;
  }

  add(samples) {
    if (this.length + samples.length > this.held.length) {
      const larger = new Float32Array(2 * (this.length + samples.length));
      larger.set(this.held.subarray(0, this.length));
      this.held = larger;
    }
    this.held.set(samples, this.length);
    this.length += samples.length;
  }
}

async function speak() {
  stop();
  running = new AbortController();
  const { signal } = running;
  const asked = fields();
  spoken = { job: asked, samples: new Samples(), receipt: null, first: null };
  const mine = spoken;
  at("segments").replaceChildren();
  at("receipt").textContent = "";
  at("download").disabled = true;
  at("stop").disabled = false;
  progress();
  try {
    sound = await Sound.start();
    const started = performance.now();
    const reply = await job("tts", { ...asked, format: "pcm", mode: "streaming" }, signal);
    for await (const piece of events(reply)) {
      if (piece.error) throw new Error(piece.error.replace(/^\w+: /, ""));
      if (piece.audio === undefined) {
        mine.receipt = piece;
        continue;
      }
      mine.first ??= (performance.now() - started) / 1000;
      const samples = decode(piece.audio);
      sound.play(samples);
      mine.samples.add(samples);
      if (piece.text) segment(piece);
      draw(mine.samples);
      progress();
    }
    if (!mine.receipt) throw new Error("the speech ended before it was complete");
    at("receipt").textContent = JSON.stringify(mine.receipt, null, 2);
    at("seed").placeholder = `random; the last was ${mine.receipt.seed}`;
    at("download").disabled = false;
  } finally {
    if (mine === spoken) {
      running = null;
      at("stop").disabled = !mine.samples.length;
      progress();
    }
  }
}

function stop() {
  running?.abort();
  running = null;
  sound?.stop();
  sound = null;
  at("stop").disabled = true;
  progress();
}

function segment(piece) {
  const item = document.createElement("li");
  item.textContent = `${piece.start.toFixed(1)} s: ${piece.text}`;
  at("segments").append(item);
}

function draw({ held, length }) {
  const canvas = at("waveform");
  const pen = canvas.getContext("2d");
  const { width, height } = canvas;
  pen.clearRect(0, 0, width, height);
  pen.fillStyle = getComputedStyle(canvas).color;
  const step = Math.max(1, Math.floor(length / width));
  for (let column = 0; column * step < length && column < width; column++) {
    let peak = 0;
    for (let index = column * step; index < Math.min((column + 1) * step, length); index += 4) {
      peak = Math.max(peak, Math.abs(held[index]));
    }
    pen.fillRect(column, (height * (1 - peak)) / 2, 1, Math.max(1, height * peak));
  }
}

async function download() {
  const format = at("format").value;
  const asked = { ...spoken.job, seed: spoken.receipt.seed, format, mode: "streaming" };
  const options = {
    method: "POST",
    body: JSON.stringify(asked), // the same samples as were played: a whole has others
    headers: { "Content-Type": "application/json", Accept: "audio/*" },
  };
  const audio = format === "wav" ? wav(spoken.samples) : await (await ask("/jobs/tts", options)).blob();
  const link = document.createElement("a");
  link.href = URL.createObjectURL(audio);
  link.download = `speech.${format}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}

function wav({ held, length }) {
  const view = new DataView(new ArrayBuffer(44 + 2 * length));
  const text = (offset, word) => [...word].forEach((char, index) => view.setUint8(offset + index, char.charCodeAt(0)));
  text(0, "RIFF");
  view.setUint32(4, 36 + 2 * length, true);
  text(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, 1, true);
  view.setUint16(22, 1, true);
  view.setUint32(24, RATE, true);
  view.setUint32(28, 2 * RATE, true);
  view.setUint16(32, 2, true);
  view.setUint16(34, 16, true);
  text(36, "data");
  view.setUint32(40, 2 * length, true);
  for (let index = 0; index < length; index++) view.setInt16(44 + 2 * index, Math.round(held[index] * 32768), true);
  return new Blob([view], { type: "audio/wav" });
}

// --- clones

async function clone() {
  const sources = recording ? [recording] : [...at("file").files];
  if (!sources.length) throw new Error("choose a recording, or record one");
  at("cloned").textContent = "listening to the recording …";
  at("quality").hidden = true;
  const today = new Date().toISOString().slice(0, 10);
  const consent = { by: "whoever sent this from the worker's page", date: today, statement: "The person agreed to this." };
  try {
    const recordings = await Promise.all(sources.map(base64));
    const sent = recordings.length === 1 ? { reference_audio: recordings[0] } : { samples: recordings.map((audio) => ({ audio })) };
    const asked = { voice_name: at("name").value, ...sent, consent, preview: false };
    const reply = await (await job("clone_voice", asked)).json();
    await load();
    at("voice").value = reply.voice_id;
    describe();
    report(reply);
    at("cloned").textContent = `${reply.voice_name} is there${reply.created ? "" : " already"}.`;
  } catch (error) {
    at("cloned").textContent = "";
    throw error;
  }
}

function base64(blob) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result.slice(reader.result.indexOf(",") + 1));
    reader.onerror = () => reject(new Error("the recording cannot be read"));
    reader.readAsDataURL(blob);
  });
}

function report({ quality, warnings }) {
  const rows = { "Length, s": quality.duration_s, "Speech, s": quality.speech_s, "Loudness, LUFS": quality.loudness_lufs, "Signal to noise, dB": quality.snr_db };
  define("quality", [...Object.entries(rows), ...asPairs(warnings)]);
}

function asPairs(warnings) {
  return warnings.map((warning) => ["Warning", warning]);
}

// Fills a list of terms and their descriptions; without any it is hidden.
function define(id, pairs) {
  const parts = pairs.flatMap(([name, value]) => {
    const [term, description] = [document.createElement("dt"), document.createElement("dd")];
    term.textContent = name;
    description.textContent = value ?? "?";
    return [term, description];
  });
  at(id).replaceChildren(...parts);
  at(id).hidden = !parts.length;
}

let recorder = null;

async function record() {
  if (recorder) {
    recorder.stop();
    return;
  }
  if (!navigator.mediaDevices || !window.MediaRecorder) {
    throw new Error("this browser records only on pages from https or localhost: choose a file instead");
  }
  const stream = await navigator.mediaDevices.getUserMedia({ audio: { echoCancellation: false, noiseSuppression: false } });
  const kind = ["audio/webm;codecs=opus", "audio/mp4"].find((type) => MediaRecorder.isTypeSupported(type));
  const parts = [];
  recorder = new MediaRecorder(stream, kind ? { mimeType: kind } : {});
  recorder.ondataavailable = ({ data }) => parts.push(data);
  recorder.onstop = () => {
    stream.getTracks().forEach((track) => track.stop());
    recording = new Blob(parts, { type: recorder.mimeType });
    recorder = null;
    at("record").textContent = "Record again";
    at("recorder").textContent = `recorded, ${Math.ceil(recording.size / 1024)} kB`;
  };
  recorder.start();
  setTimeout(() => recorder?.stop(), 1000 * LONGEST_RECORDING_S);
  at("record").textContent = "Stop recording";
  at("recorder").textContent = "recording …";
}

// --- conversions and the watermark

async function withSource(work) {
  const [source] = at("source").files;
  at("conversion").pause();
  at("conversion").hidden = true;
  at("converted").textContent = "";
  define("conversion-warnings", []);
  if (!source) throw new Error("choose a file with speech");
  at("converted").textContent = "listening to the speech …";
  try {
    const { said, warnings } = await work(await base64(source));
    at("converted").textContent = said;
    define("conversion-warnings", asPairs(warnings));
  } catch (error) {
    at("converted").textContent = "";
    throw error;
  }
}

// The reply is the whole receipt: the header of a reply of audio has the warnings of its beginning alone.
async function convert(source) {
  const target = at("target").value;
  const wanted = { format: "mp3", delivery: "inline" };
  const asked = { source_audio: source, ...wanted, ...(target === BUILT_IN ? {} : { voice_id: target }) };
  const { audio, warnings } = await (await job("convert_voice", asked)).json();
  URL.revokeObjectURL(at("conversion").src);
  at("conversion").src = URL.createObjectURL(new Blob([bytesOf(audio)], { type: "audio/mpeg" }));
  at("conversion").hidden = false;
  return { said: "converted", warnings };
}

async function check(audio) {
  const { watermarked, confidence, warnings } = await (await job("check_watermark", { audio })).json();
  return { said: `${watermarked ? "It is" : "It is not"} watermarked, confidence ${confidence.toFixed(2)}.`, warnings };
}

// --- the page

at("format").replaceChildren(...FORMATS.map((format) => new Option(format, format)));
at("speak-form").addEventListener("submit", (event) => {
  event.preventDefault();
  attempt(speak);
});
at("clone-form").addEventListener("submit", (event) => {
  event.preventDefault();
  attempt(clone);
});
at("convert-form").addEventListener("submit", (event) => {
  event.preventDefault();
  attempt(() => withSource(convert));
});
at("check").addEventListener("click", () => attempt(() => withSource(check)));
at("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem(KEY, at("key").value);
  at("key").value = "";
  attempt(load);
});
at("stop").addEventListener("click", stop);
at("download").addEventListener("click", () => attempt(download));
at("record").addEventListener("click", () => attempt(record));
at("file").addEventListener("change", () => {
  recording = null;
  at("recorder").textContent = "";
});
at("search").addEventListener("input", list);
at("model").addEventListener("change", offerLanguages);
at("speak-form").addEventListener("input", describe);
describe();
watch();
