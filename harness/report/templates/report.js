"use strict";
// Plays a clip's text at the pace at which clients received it. All times are ms after audio zero.
(function () {
  const clips = JSON.parse(document.getElementById("playback").textContent);
  const byId = (id) => document.getElementById(id);
  const leadMs = 400; // of silence before the request, so that the wait can be felt
  const tailMs = 600;

  function option(select, value, text) {
    const made = document.createElement("option");
    made.value = value;
    made.textContent = text;
    select.append(made);
  }

  function pane(root) {
    const select = root.querySelector("select");
    const [shown, told] = [root.querySelector(".shown"), root.querySelector(".told")];
    const lane = root.querySelector(".lane");
    let clip, track, count, ticks, cursor, startMs, endMs;

    function load(nextClip, fromMs, untilMs) {
      [clip, startMs, endMs] = [nextClip, fromMs, untilMs];
      const tracks = clip.recorded.concat(clip.what_if);
      if (select.options.length === 0) {
        tracks.forEach((one, i) => option(select, i, one.name));
      }
      track = tracks[select.value];
      const arm = select.value < clip.recorded.length ? select.value % 8 : 4;
      root.style.setProperty("--arm", `var(--arm-${arm})`);
      const percent = (at) => `${(100 * (at - startMs)) / (endMs - startMs)}%`;
      lane.replaceChildren();
      const mark = (name, at) => {
        const made = document.createElement(name);
        made.style.left = percent(at);
        lane.append(made);
        return made;
      };
      if (clip.request_ms >= startMs) mark("i", clip.request_ms).className = "request";
      ticks = track.cuts.map(([, at]) => (at >= startMs ? mark("i", at) : null));
      cursor = mark("b", startMs);
      reset();
    }

    function reset() {
      count = 0;
      shown.replaceChildren();
      told.textContent = "waiting";
    }

    function show(now) {
      if (count > 0 && track.cuts[count - 1][1] > now) reset(); // moved back
      while (count < track.cuts.length && track.cuts[count][1] <= now) {
        const begin = count > 0 ? track.cuts[count - 1][0] : 0;
        const [end, at] = track.cuts[count];
        const span = document.createElement("span");
        span.textContent = track.text.slice(begin, end);
        span.dataset.at = at;
        span.dataset.shown = Math.round(now);
        shown.append(span);
        count += 1;
        shown.scrollTop = shown.scrollHeight;
      }
      ticks.forEach((tick, i) => tick && tick.classList.toggle("past", i < count));
      cursor.style.left = `${(100 * (Math.min(now, endMs) - startMs)) / (endMs - startMs)}%`;
      if (count > 0) {
        told.textContent = `first text after ${track.ttft} · ${count} of ${track.cuts.length} messages`;
      }
    }

    const lastMs = () => Math.max(...clip.recorded.concat(clip.what_if).map((t) => t.cuts.at(-1)[1]));
    return { select, load, show, lastMs };
  }

  function player() {
    const sides = [pane(byId("left")), pane(byId("right"))];
    const [button, position, audio] = [byId("play-button"), byId("position"), byId("audio")];
    let clip, startMs, endMs, nowMs, playing = null; // {wall, at}: when and where play began

    function load() {
      stop();
      clip = clips[byId("clip").value];
      sides[0].load(clip, 0, 1); // fills the choices of strategies the first time
      endMs = Math.max(sides[0].lastMs(), clip.duration_ms) + tailMs;
      startMs = byId("from").value === "audio" ? 0 : Math.max(0, clip.request_ms - leadMs);
      if (sides[1].select.options.length === 0) {
        sides[1].load(clip, startMs, endMs);
        sides[1].select.value = Math.min(1, sides[1].select.options.length - 1);
      }
      for (const side of sides) side.load(clip, startMs, endMs);
      [position.min, position.max] = [startMs, endMs];
      if (clip.audio) audio.src = clip.audio;
      seek(startMs);
    }

    function seek(at) {
      nowMs = at;
      position.value = at;
      const sinceMs = Math.round(at - clip.request_ms);
      const where = `${Math.abs(sinceMs)} ms ${sinceMs < 0 ? "before" : "after"} the request`;
      position.setAttribute("aria-valuetext", where);
      byId("clock").textContent = where;
      for (const side of sides) side.show(at);
    }

    function speed() {
      return Number(byId("speed").value);
    }

    function frame(wall) {
      if (!playing) return;
      const at = playing.at + (wall - playing.wall) * speed();
      if (at >= endMs) {
        seek(endMs);
        stop();
        return;
      }
      seek(at);
      requestAnimationFrame(frame);
    }

    function play() {
      if (nowMs >= endMs) seek(startMs);
      playing = { wall: performance.now(), at: nowMs };
      button.textContent = "Pause";
      if (clip.audio && nowMs < clip.duration_ms) {
        audio.currentTime = nowMs / 1000;
        audio.playbackRate = speed();
        audio.play().catch(() => {}); // the browser forbids sound: the text plays on
      }
      requestAnimationFrame(frame);
    }

    function stop() {
      playing = null;
      audio.pause();
      button.textContent = "Play";
    }

    clips.forEach((one, i) => option(byId("clip"), i, one.id));
    button.addEventListener("click", () => (playing ? stop() : play()));
    position.addEventListener("input", () => { stop(); seek(Number(position.value)); });
    for (const id of ["clip", "from"]) byId(id).addEventListener("change", load);
    byId("speed").addEventListener("change", stop);
    for (const side of sides) side.select.addEventListener("change", load);
    byId("player").hidden = false;
    load();
  }

  function clipFilter() {
    const [filter, views] = [byId("clip-filter"), [...document.querySelectorAll("details.clip")]];
    function apply() {
      const wanted = (view) => filter.value === "all" || view.classList.contains(filter.value);
      for (const view of views) view.hidden = !wanted(view);
      byId("clip-count").textContent = `${views.filter(wanted).length} of ${views.length}`;
    }
    filter.addEventListener("change", apply);
    byId("filter").hidden = false;
    apply();
  }

  if (clips.length > 0) player();
  else byId("no-player").hidden = false;
  clipFilter();
})();
