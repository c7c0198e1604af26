// The page: choices in, a session, figures out. Timing lives in session.js.
import { Session, playClip, record } from "/static/session.js";

const NONE = "(none)";
const $ = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";

let clips = [];
let session = null;
let stopRecording = null;

function say(text, isError = false) {
  $("status").textContent = text;
  $("status").classList.toggle("error", isError);
}

// Whether a button can be pressed; where it cannot, the page says why beside it.
function allow(id, why = "") {
  $(id).disabled = why !== "";
  const told = $(`${id}-why`);
  told.hidden = why === "";
  told.textContent = why === "" ? "" : `${$(id).textContent}: ${why}`;
}

const NOT_YET = "no session was recorded yet.";
const NOT_RUNNING = "no session is running.";

function allowStart() {
  const needed = !$("token-field").hidden && !$("token").value;
  allow("start", needed ? "enter the token first." : "");
}

function fill(select, names, chosen) {
  select.replaceChildren(...names.map((name) => new Option(name, name, false, name === chosen)));
}

function headers() {
  return $("token").value ? { Authorization: `Bearer ${$("token").value}` } : {};
}

async function ask(path) {
  const response = await fetch(path, { headers: headers() });
  if (!response.ok) throw new Error(`${path}: ${response.status} ${await response.text()}`);
  return response;
}

async function load() {
  const health = await (await fetch("/health")).json();
  $("token-field").hidden = !health.needs_token;
  const turn = health.kind === "turn" ? "answers after the end" : "answers while you speak";
  const random = health.random_weights ? " (random weights: its text means nothing)" : "";
  $("server").textContent = `${health.model}${random}, ${turn}; ${health.sessions} of ${health.max_sessions} sessions open`;
  const strategies = [...new Set([health.chunking, ...health.strategies])];
  fill($("lane-a"), strategies, health.chunking);
  fill($("lane-b"), [NONE, ...strategies], health.chunking === "6word" ? "1word" : "6word");
  allowStart();
  if (!health.needs_token) await loadClips();
}

async function loadClips() {
  clips = await (await ask("/clips")).json();
  const options = clips.map((clip) => new Option(`${clip.id}: ${clip.text.slice(0, 60)}`, clip.id));
  $("source").replaceChildren(new Option("Microphone", ""), ...options);
}

async function start() {
  const lanes = [...new Set([$("lane-a").value, $("lane-b").value])].filter((name) => name !== NONE);
  const clip = clips.find(({ id }) => id === $("source").value) ?? null;
  allow("start", "a session is running.");
  allow("save", "the session is not over.");
  $("lanes").replaceChildren(...lanes.map(makeLane));
  say("Connecting…");
  session = new Session({ token: $("token").value, lanes, clip, onChange: show });
  try {
    await session.ready;
    const pcm = clip && new Int16Array(await (await ask(`/clips/${clip.id}.pcm`)).arrayBuffer());
    session.begin();
    if (clip) {
      if ($("aloud").checked) playAloud(pcm);
      playClip(session, pcm);
    } else {
      stopRecording = await record(session);
    }
    allow("stop");
    $("stop").focus();
    say(clip ? `Playing ${clip.id}` : "Recording: speak, then press Stop");
    const outcome = await session.over;
    say(outcome.failed ? `Failed: ${outcome.failed}` : "Done.", Boolean(outcome.failed));
  } catch (error) {
    session.end({ failed: error.message });
    say(`Failed: ${error.message}`, true);
  }
  stopRecording?.();
  stopRecording = null;
  allow("stop", NOT_RUNNING);
  allowStart();
  allow("save", session.frames.length === 0 ? "the last session sent no audio." : "");
  $("start").focus();
}

function stop() {
  if (stopRecording) stopRecording();
  else session.end_of_audio(performance.now());
  stopRecording = null;
  allow("stop", "the end was sent; waiting for the rest of the text.");
  say("Waiting for the rest…");
}

function playAloud(pcm) {
  const context = new AudioContext();
  const buffer = context.createBuffer(1, pcm.length, 16000);
  buffer.copyToChannel(Float32Array.from(pcm, (sample) => sample / 32768), 0);
  const source = new AudioBufferSourceNode(context, { buffer });
  source.onended = () => context.close();
  source.connect(context.destination);
  source.start();
}

function save() {
  const blob = new Blob([JSON.stringify(session.saved())], { type: "application/json" });
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = `session-${new Date().toISOString().replaceAll(":", "")}.json`;
  link.click();
  URL.revokeObjectURL(link.href);
}

function makeLane(name) {
  const lane = $("lane-template").content.firstElementChild.cloneNode(true);
  lane.dataset.lane = name;
  lane.querySelector("h2").textContent = name;
  lane.setAttribute("aria-label", `chunking ${name}`);
  return lane;
}

const milliseconds = (value) => (value === null ? "–" : `${value.toFixed(1)} ms`);

function show() {
  for (const lane of $("lanes").children) {
    const { ttft_ms, gap_median_ms, gap_max_ms, shown } = session.figures(lane.dataset.lane);
    lane.querySelector(".ttft").textContent = milliseconds(ttft_ms);
    lane.querySelector(".gap-median").textContent = milliseconds(gap_median_ms);
    lane.querySelector(".gap-max").textContent = milliseconds(gap_max_ms);
    lane.querySelector(".count").textContent = shown.length;
    const [transcript, rows] = [lane.querySelector(".transcript"), lane.querySelector("tbody")];
    for (const chunk of shown.slice(rows.rows.length)) {
      transcript.append(document.createTextNode(chunk.text));
      const row = rows.insertRow();
      const after = session.request === null ? "" : (chunk.at - session.request).toFixed(1);
      for (const text of [rows.rows.length - 1, after, chunk.text]) row.insertCell().textContent = text;
    }
  }
  draw();
}

function mark(kind, attributes, text = "") {
  const element = document.createElementNS(SVG, kind);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.textContent = text;
  return element;
}

function draw() {
  if (session.t0 === null) return;
  const end = session.outcome?.at ?? performance.now();
  const x = (at) => 80 + (910 * (at - session.t0)) / Math.max(1000, end - session.t0);
  const audio_end = session.t0 + session.duration * 1000;
  const marks = [
    mark("text", { x: 4, y: 24 }, "audio"),
    mark("rect", { class: "audio", x: 80, y: 12, height: 16, width: x(audio_end) - 80 }),
    mark("text", { x: 4, y: 114 }, "0 s"),
    mark("text", { x: 900, y: 114 }, `${((end - session.t0) / 1000).toFixed(2)} s`),
  ];
  if (session.request !== null) {
    const at = x(session.request);
    marks.push(mark("line", { class: "request", x1: at, x2: at, y1: 4, y2: 100 }));
  }
  const told = [];
  session.lanes.forEach((name, index) => {
    const { ttft_ms, shown } = session.figures(name);
    const y = 40 + index * 30;
    marks.push(mark("text", { x: 4, y: y + 15 }, name));
    for (const { at } of shown) {
      marks.push(mark("line", { class: `lane-${index}`, x1: x(at), x2: x(at), y1: y, y2: y + 20 }));
    }
    told.push(`${name}: ${shown.length} chunks, first text ${milliseconds(ttft_ms)} after the request`);
  });
  $("timeline").replaceChildren(...marks);
  $("timeline").setAttribute("aria-label", `${session.duration.toFixed(1)} s of audio. ${told.join(". ")}`);
}

$("controls").addEventListener("submit", (event) => { event.preventDefault(); start(); });
$("stop").addEventListener("click", stop);
$("save").addEventListener("click", save);
$("token").addEventListener("input", allowStart);
$("token").addEventListener("change", () => loadClips().catch((error) => say(error.message, true)));
setInterval(() => { if (session && !session.outcome) draw(); }, 100);
allow("stop", NOT_RUNNING);
allow("save", NOT_YET);
load().catch((error) => {
  say(`Failed: ${error.message}`, true);
  allow("start", "the server does not answer; reload the page to try again.");
});

window.harness = { get session() { return session; } }; // for the console, and for the tests
