// Plays samples as they come: silence while there are none. Says how many samples of sound it has played.

class Player extends AudioWorkletProcessor {
  constructor() {
    super();
    this.parts = [];
    this.position = 0; // in the first part
    this.played = 0;
    this.said = 0;
    this.port.onmessage = ({ data }) => {
      if (data === null) this.parts = [];
      else this.parts.push(data);
    };
  }

  process(_inputs, [[channel]]) {
    let filled = 0;
    while (filled < channel.length && this.parts.length) {
      const part = this.parts[0];
      const taken = part.subarray(this.position, this.position + channel.length - filled);
      channel.set(taken, filled);
      filled += taken.length;
      this.position += taken.length;
      if (this.position >= part.length) {
        this.parts.shift();
        this.position = 0;
      }
    }
    this.played += filled;
    if (this.played - this.said > sampleRate / 10 || (this.played > this.said && filled === 0)) {
      this.said = this.played;
      this.port.postMessage(this.played);
    }
    return true;
  }
}

registerProcessor("player", Player);
