// What OpenAI's JavaScript SDK makes of the worker: node openai_speech.mjs ADDRESS FOLDER VOICE
import fs from "node:fs";
import path from "node:path";
import OpenAI from "openai";

const [address, folder, voice] = process.argv.slice(2);
const client = new OpenAI({ baseURL: `${address}/v1`, apiKey: "a-key-of-the-tests", maxRetries: 0 });
const speech = { model: "tts-1", voice, input: "The ferry was late again, and nobody minded.", seed: 7 };

const found = { types: {} };
for (const format of ["mp3", "opus", "aac", "flac", "wav", "pcm"]) {
  const reply = await client.audio.speech.create({ ...speech, response_format: format });
  found.types[format] = reply.headers.get("content-type");
  fs.writeFileSync(path.join(folder, `streamed.${format}`), Buffer.from(await reply.arrayBuffer()));
}
const dialogue = await client.audio.speech.create({ ...speech, input: "", turns: [{ text: speech.input }] });
fs.writeFileSync(path.join(folder, "dialogue.mp3"), Buffer.from(await dialogue.arrayBuffer()));
const events = await client.audio.speech.create({ ...speech, stream_format: "sse" });
found.events = (await events.text())
  .split("\n")
  .filter((line) => line.startsWith("data: "))
  .map((line) => JSON.parse(line.slice(6)));
found.models = (await client.models.list()).data.map((model) => model.id);
found.errors = [];
for (const wrong of [{ voice: "nobody" }, { input: "..." }]) {
  try {
    await client.audio.speech.create({ ...speech, ...wrong });
  } catch (error) {
    found.errors.push([error.constructor.name, error.status, error.code, error.param]);
  }
}
console.log(JSON.stringify(found));
