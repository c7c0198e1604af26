// One utterance as this client sees it: frames out when they are due, receipts stamped first.
// Times are milliseconds of performance.now(); saved ones are nanoseconds of the same clock.

export const RATE_HZ = 16000;
export const FRAME_SAMPLES = 320; // 20 ms
const FRAME_MS = (FRAME_SAMPLES / RATE_HZ) * 1000;
const SPEECH_RMS = 0.01; // -40 dBFS: where a recording's speech begins and ends

const ns = (ms) => Math.round(ms * 1e6);

export class Session {
  // lanes: names of chunking strategies; clip: an entry of /clips, or null for the microphone.
  constructor({ token, lanes, clip, onChange }) {
    this.lanes = lanes;
    this.clip = clip;
    this.onChange = onChange;
    this.kind = "turn";
    this.model = "";
    this.engine = null; // what the server says of it: random weights, their hash, the model's delay
    this.t0 = null; // of audio time zero
    this.frames = [];
    this.finish = null;
    this.tokens = [];
    this.chunks = Object.fromEntries(lanes.map((lane) => [lane, []]));
    this.waitingFor = new Set([...lanes, "token"]);
    this.outcome = null;
    this.speech = { first: null, last: null }; // frames
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    const protocols = token ? ["stt", `bearer.${token}`] : ["stt"];
    this.socket = new WebSocket(`${scheme}//${location.host}/ws/transcribe`, protocols);
    this.socket.binaryType = "arraybuffer";
    this.ready = new Promise((resolve, reject) => {
      this.socket.onmessage = (event) => {
        const at = performance.now();
        const message = JSON.parse(event.data);
        if (message.type === "ready") {
          this.kind = message.kind;
          this.model = message.model;
          this.engine = message.engine ?? null;
          resolve();
        } else {
          this.receive(message, at);
          if (message.type === "error") reject(new Error(message.error));
        }
      };
      this.socket.onclose = () => {
        this.end({ failed: "the connection was closed" });
        reject(new Error("the server refused the connection, or is gone"));
      };
    });
    this.over = new Promise((resolve) => { this.resolveOver = resolve; });
  }

  begin() {
    const start = { type: "start", chunking: [...new Set([...this.lanes, "token"])] };
    if (this.clip) start.clip = this.clip.id;
    this.socket.send(JSON.stringify(start));
  }

  // due: when the frame's last sample was spoken.
  send(pcm, due) {
    if (this.outcome || this.finish) return;
    if (this.t0 === null) this.t0 = due - FRAME_MS;
    this.socket.send(pcm);
    this.frames.push({ due, sent: performance.now() });
    let sum = 0;
    for (const sample of pcm) sum += (sample / 32768) ** 2;
    if (Math.sqrt(sum / pcm.length) > SPEECH_RMS) {
      this.speech.first ??= this.frames.length - 1;
      this.speech.last = this.frames.length;
    }
  }

  end_of_audio(due) {
    if (this.outcome || this.finish) return;
    this.socket.send('{"type":"end"}');
    this.finish = { due, sent: performance.now() };
    this.onChange(this);
  }

  receive(message, at) {
    if (message.type === "error") {
      this.end({ failed: `${message.error} (${message.code})`, at });
      return;
    }
    if (message.chunking === "token" && message.exact_text) {
      this.tokens.push({ text: message.exact_text, at });
    }
    this.chunks[message.chunking]?.push({ text: message.exact_text, at, final: message.is_final });
    if (message.is_final) this.waitingFor.delete(message.chunking);
    if (this.waitingFor.size === 0) this.end({ ended: at });
    else this.onChange(this);
  }

  end(outcome) {
    if (this.outcome) return;
    this.outcome = { at: performance.now(), ...outcome };
    this.socket.close();
    this.resolveOver(this.outcome);
    this.onChange(this);
  }

  get duration() { return (this.frames.length * FRAME_MS) / 1000; }

  get onset() { return this.clip?.speech_onset_s ?? ((this.speech.first ?? 0) * FRAME_MS) / 1000; }

  // The instant that latencies count from: metrics.md calls it R.
  get request() {
    if (this.kind === "live") return this.t0 === null ? null : this.t0 + this.onset * 1000;
    return this.finish?.due ?? null;
  }

  figures(lane) {
    const shown = this.chunks[lane].filter((chunk) => chunk.text.trim());
    const gaps = shown.slice(1).map((chunk, i) => chunk.at - shown[i].at).sort((x, y) => x - y);
    const middle = gaps.length >> 1;
    const median = gaps.length % 2 ? gaps[middle] : (gaps[middle - 1] + gaps[middle]) / 2;
    return {
      ttft_ms: shown.length && this.request !== null ? shown[0].at - this.request : null,
      gap_median_ms: gaps.length ? median : null,
      gap_max_ms: gaps.length ? gaps[gaps.length - 1] : null,
      shown,
    };
  }

  // Events in the form of events.jsonl, an arm for each strategy; `report` reads them.
  saved() {
    const end_s = this.clip?.speech_end_s ?? ((this.speech.last ?? 0) * FRAME_MS) / 1000;
    const started = {
      event: "started", clip: this.clip?.id ?? "microphone", repeat: 0, order: 0, lane: 0,
      kind: this.kind, t0_ns: ns(this.t0 ?? 0), duration_s: this.duration,
      speech_onset_s: this.onset, speech_end_s: end_s, frame_ms: FRAME_MS,
      reference: this.clip?.text ?? "", model_delay_ms: this.engine?.model_delay_ms ?? 0,
      words: (this.clip?.words ?? []).map(([text, start_s, end_s]) => ({ text, start_s, end_s })),
    };
    const frames = this.frames.map(({ due, sent }, index) => (
      { event: "frame_sent", index, due_ns: ns(due), sent_ns: ns(sent) }));
    const finish = this.finish
      ? [{ event: "finish_sent", due_ns: ns(this.finish.due), sent_ns: ns(this.finish.sent) }] : [];
    const tokens = this.tokens.map(({ text, at }) => ({ event: "token", text, at_ns: ns(at) }));
    const { ended, failed, at } = this.outcome;
    const outcome = ended === undefined
      ? { event: "failed", at_ns: ns(at), error: failed } : { event: "ended", at_ns: ns(ended) };
    const arms = {};
    for (const lane of this.lanes) {
      const chunks = this.chunks[lane].map((chunk, index) => (
        { event: "chunk", index, text: chunk.text, at_ns: ns(chunk.at), is_final: chunk.final }));
      arms[lane] = [started, ...frames, ...finish, ...tokens, ...chunks, outcome];
    }
    return { schema: 1, model: this.model, engine: this.engine, client: navigator.userAgent, arms };
  }
}

// Plays PCM16 into a session, each frame when it was spoken.
export function playClip(session, pcm) {
  const t0 = performance.now() + 50;
  const frames = Math.floor(pcm.length / FRAME_SAMPLES);
  let next = 0;
  const step = () => {
    while (next < frames && performance.now() >= t0 + (next + 1) * FRAME_MS) {
      session.send(pcm.subarray(next * FRAME_SAMPLES, ++next * FRAME_SAMPLES), t0 + next * FRAME_MS);
    }
    if (session.finish || session.outcome) return;
    if (next === frames) session.end_of_audio(t0 + frames * FRAME_MS);
    else setTimeout(step, Math.max(0, t0 + (next + 1) * FRAME_MS - performance.now()));
  };
  step();
}

// Records the microphone into a session; resolves to a function that stops it.
export async function record(session) {
  if (!navigator.mediaDevices) {
    throw new Error("no microphone here: browsers allow it on https:// and on localhost only");
  }
  const media = await navigator.mediaDevices.getUserMedia({
    audio: { channelCount: 1, echoCancellation: false, noiseSuppression: false, autoGainControl: false },
  });
  const context = new AudioContext({ sampleRate: RATE_HZ, latencyHint: "interactive" });
  await Promise.race([context.resume(), new Promise((late) => setTimeout(late, 10000))]);
  if (context.state !== "running") {
    for (const track of media.getTracks()) track.stop();
    context.close();
    throw new Error("the browser starts no sound: is there a sound device, and may this page use it?");
  }
  await context.audioWorklet.addModule("/static/worklet.js");
  const node = new AudioWorkletNode(context, "frames", { numberOfOutputs: 0 });
  let last = null;
  node.port.onmessage = ({ data }) => {
    last = performance.now();
    session.send(data, last);
  };
  context.createMediaStreamSource(media).connect(node);
  return () => {
    for (const track of media.getTracks()) track.stop();
    context.close();
    session.end_of_audio(performance.now());
  };
}
