// Two videos in step on one canvas. A frame is drawn once both have it, so that it is never
// compared with its neighbour.
const KEPT = 4, TIMES = 8, COLOURS = ["#e69f00", "#56b4e9"];
const ORDERS = {
  table: "in the table's order", savings: "the largest savings first",
  quality: "the lowest quality first", changed: "where the network changed its mind",
};

const METRICS = { vmaf: "VMAF NEG", vmaf1: "VMAF v1", ssim: "SSIM", xpsnr: "XPSNR" };

function size_of(bytes) {
  const [unit, factor] = bytes < 1e6 ? ["kB", 1e3] : ["MB", 1e6];
  return `${Number((bytes / factor).toPrecision(3))} ${unit}`;
}

/** What the reports say of a variant's clip. */
function facts({ variant, bytes_out: bytes, quality, reason }, source, metrics) {
  const told = `${variant}: ${size_of(bytes)}`;
  if (variant === source.variant) return told;
  return `${told}, ${Math.round(100 * bytes / source.bytes_out)}% of the source crop, ${
    METRICS[metrics[variant]]} ${quality?.toPrecision(4) ?? "unknown"} in its worst second${
    reason === variant ? "" : ` (${reason})`}`;
}

/** One video, and its latest frames by number. */
function deck(arrived) {
  const video = make("video", { muted: true, playsInline: true, preload: "auto" });
  let frames = new Map(), times = [0];
  const number = (time) => {
    let low = 0, high = times.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (times[middle] <= time + 0.002) low = middle;
      else high = middle - 1;
    }
    return low;
  };
  const keep = (time) => {
    if (!video.videoWidth) return;
    const canvas = frames.size < KEPT ? document.createElement("canvas")
      : frames.values().next().value;
    for (const [key, one] of frames) if (one === canvas) frames.delete(key);
    Object.assign(canvas, { width: video.videoWidth, height: video.videoHeight });
    canvas.getContext("2d").drawImage(video, 0, 0);
    frames.delete(number(time));
    frames.set(number(time), canvas);
    arrived();
  };
  const follow = (now, { mediaTime }) => {
    keep(mediaTime);
    video.requestVideoFrameCallback?.(follow);
  };
  video.requestVideoFrameCallback?.(follow);
  video.addEventListener("seeked", () => keep(video.currentTime));
  return {
    video, frames: () => frames,
    open(file, when) {
      URL.revokeObjectURL(video.src);
      [frames, times] = [new Map(), when];
      if (file) {
        video.src = typeof file === "string" ? file
          : URL.createObjectURL(new Blob([file], { type: "video/mp4" }));
      } else video.removeAttribute("src");
    },
    seek(frame) {
      frames.clear();
      const next = times[frame + 1] ?? times[frame] + (times[1] ?? 0.04);
      video.currentTime = (times[frame] + next) / 2;
    },
  };
}

/** The kernel answers through `model`. Without one (`model.few`: a page of the book) the clips are
 * few, in one order, and their files have addresses.
 */
function render({ model, el }) {
  let clip = null, size = null, pair = ["", ""], times = [0], shown = null, playing = false;
  let wipe = 0.5, zoom = 1, centre = { x: 0.5, y: 0.5 }, difference = false, drag = null;
  let curves = [], metric = "", chosen = null;

  const move = (x, y) => (event) => {
    if (event.shiftKey) pan(x / 20, y / 20);
    else if (x) slide(wipe + x / 50);
  };
  const actions = {
    " ": () => play.toggle(), ",": () => play.step(-1), ".": () => play.step(1),
    p: () => ask("step", -1), n: () => ask("step", 1),
    PageUp: () => ask("step", -1), PageDown: () => ask("step", 1),
    d: () => differ(!difference), "+": () => enlarge(zoom * 2), "=": () => enlarge(zoom * 2),
    "-": () => enlarge(zoom / 2), ArrowLeft: move(-1, 0), ArrowRight: move(1, 0),
    ArrowUp: move(0, -1), ArrowDown: move(0, 1),
  };
  const root = panel(el, "Compare two variants", actions);
  const choose = () => ask("choose", selects[0].value, selects[1].value, order.value);
  const selects = ["Left", "Right"].map((label) => make("select", {
    "aria-label": `${label} variant`, onchange: choose }));
  const order = make("select", { "aria-label": "Order of the clips", onchange: choose },
    ...Object.entries(ORDERS).map(([value, text]) => make("option", { value }, text)));
  const place = make("strong", { className: "count" }), about = make("div", { className: "about" });
  const status = make("div", { className: "status", role: "status" });
  const canvas = make("canvas", { role: "img" });
  const decks = [deck(meet), deck(meet)];
  const stage = make("div", { className: "stage" }, canvas,
    make("div", { className: "videos", "aria-hidden": "true" }, ...decks.map((one) => one.video)));
  const wiper = make("input", { type: "range", min: 0, max: 100, "aria-label": "Wipe",
    oninput: () => slide(wiper.value / 100) });
  const wipers = make("div", { className: "bar wiper" }, selects[0], wiper, selects[1]);
  const differs = button(`Difference × ${TIMES}`, "D", actions.d);
  const enlarged = make("span");
  const play = player((frame) => decks.forEach((one) => one.seek(frame)), run);
  const curve = make("div", { className: "curve" }), score = make("div", { className: "scores" });
  const told = {
    clip(message) {
      [clip, pair, size, shown, curves] = [message.id, message.pair, null, null, []];
      place.textContent = `Clip ${message.place + 1} of ${message.clips}`;
      about.replaceChildren(make("strong", {}, message.label), ` · ${clip}`,
        ...[...message.reports.slice(0, 2).map((row) => facts(row, message.reports[2],
          message.metrics)), message.mind].map((fact) => make("div", {}, fact)));
      selects.forEach((select) => {
        select.replaceChildren(...Object.keys(message.metrics).map(
          (value) => make("option", { value }, value)));
      });
      chosen = message;
      choices();
      play.stop();
      decks.forEach((one) => one.open(null, [0]));
      said("");
      plot();
      draw();
    },
    videos(message, buffers) {
      if (message.of !== clip) return;
      [size, times] = [message, message.times];
      const rate = times.length > 1 ? (times.length - 1) / times.at(-1) : 25;
      play.open(times.length, rate, (frame) => `frame ${frame + 1} of ${times.length}`);
      play.loaded(times.length);
      const rare = pair.filter((name, side) => message.codecs[side] !== "h264");
      if (rare.length) {
        said(`${rare.join(" and ")}: not H.264. Not every browser plays HEVC or AV1.`);
      }
      decks.forEach((one, side) => one.open(buffers[side], times));
      fit();
      play.go(0);
      score.textContent = "Scoring each frame …";
      ask("scores", clip);
    },
    scores(message) {
      if (message.of !== clip) return;
      [curves, metric] = [message.curves, METRICS[message.metric]];
      plot();
    },
    found: (message) => find.found(message),
    problem({ text }) {
      said(text, true);
      choices();
      if (clip && !curves.length) score.textContent = "";
    },
  };
  const { ask, close } = connect(model, told);
  const find = finder(ask, (id) => ask("show", id));
  root.append(
    make("div", { className: "bar" }, place, ...(model.few ? [] : [order]),
      button("Previous", "P", actions.p), button("Next", "N", actions.n),
      ...(model.few ? [] : [find.element])),
    about, stage,
    wipers,
    play.element, curve, score,
    make("div", { className: "bar" }, differs, button("Zoom out", "-", actions["-"]),
      button("Zoom in", "+", actions["+"]), enlarged, status),
    help(["← →", "move the wipe"], ["Space", "play and pause"],
      [", .", "previous and next frame"], ["P N", "previous and next clip"], ["D", "difference"],
      ["+ -", "zoom in and out"],
      ["Shift", "with the arrows or the mouse moves what is zoomed in"]));
  decks.forEach(({ video }, side) => video.addEventListener("error", () => {
    if (size) {
      said(`This browser cannot play ${pair[side]} (${size.codecs[side]}): try another browser, or `
        + "set codec: h264 for this variant.", true);
    }
  }));

  /** Show the order and the variants that are in force. */
  function choices() {
    order.value = chosen.order;
    selects.forEach((select, side) => { select.value = pair[side]; });
  }

  function said(text, wrong = false) {
    status.textContent = text;
    status.classList.toggle("problem", wrong);
  }

  /** Play both videos, or halt both. */
  function run(on) {
    playing = on;
    if (!size) return;
    if (on && play.frame() >= times.length - 1) play.go(0);
    for (const { video } of decks) on ? video.play().catch(() => {}) : video.pause();
    if (!on && shown !== null) decks.forEach((one) => one.seek(play.frame()));
  }
  decks[0].video.addEventListener("ended", () => {
    if (playing) {
      play.go(0);
      run(true);
    }
  });

  /** Show the latest frame that both videos have. */
  function meet() {
    const [one, other] = decks.map(({ frames }) => frames());
    const both = [...one.keys()].filter((number) => other.has(number));
    if (!both.length || !size) return;
    shown = Math.max(...both);
    if (playing) play.moved(shown);
    const [lead, follower] = decks.map(({ video }) => video);
    if (playing && Math.abs(lead.currentTime - follower.currentTime) > 2.5 * (times[1] ?? 1)) {
      follower.currentTime = lead.currentTime;
    }
    draw();
    mark();
  }

  function slide(share) {
    wipe = clamp(share, 0, 1);
    differ(false);
  }
  function differ(on) {
    difference = on;
    differs.setAttribute("aria-pressed", on);
    draw();
  }
  function enlarge(times) {
    zoom = clamp(times, 1, 8);
    enlarged.textContent = `${zoom}×`;
    pan(0, 0);
  }
  function pan(x, y) {
    const half = 0.5 / zoom;
    centre = { x: clamp(centre.x + x / zoom, half, 1 - half),
      y: clamp(centre.y + y / zoom, half, 1 - half) };
    draw();
  }

  function fit() {
    if (!size || !stage.clientWidth) return;
    const scale = Math.min(stage.clientWidth / size.width, 480 / size.height);
    const pixels = window.devicePixelRatio || 1;
    canvas.style.width = wipers.style.width = `${size.width * scale}px`;
    canvas.style.height = `${size.height * scale}px`;
    canvas.width = Math.round(size.width * scale * pixels);
    canvas.height = Math.round(size.height * scale * pixels);
    draw();
  }

  function draw() {
    canvas.hidden = !size;
    wiper.value = 100 * wipe;
    canvas.setAttribute("aria-label", difference ? `What differs between ${pair[0]} and ${pair[1]}`
      : `${pair[0]} on the left ${Math.round(100 * wipe)}%, ${pair[1]} on the right`);
    if (!size || shown === null) return;
    const context = canvas.getContext("2d"), { width, height } = canvas;
    const paint = (side) => {
      const from = decks[side].frames().get(shown);
      if (!from) return;
      const [w, h] = [from.width / zoom, from.height / zoom];
      context.drawImage(from, centre.x * from.width - w / 2, centre.y * from.height - h / 2, w, h,
        0, 0, width, height);
    };
    context.globalCompositeOperation = "copy";
    context.imageSmoothingEnabled = zoom === 1;
    paint(0);
    if (difference) {
      context.globalCompositeOperation = "difference";
      paint(1);
      context.globalCompositeOperation = "lighter";
      for (let times = 1; times < TIMES; times *= 2) context.drawImage(canvas, 0, 0);
      context.globalCompositeOperation = "source-over";
      return;
    }
    context.globalCompositeOperation = "source-over";
    context.save();
    context.beginPath();
    context.rect(wipe * width, 0, width, height);
    context.clip();
    paint(1);
    context.restore();
    const line = 2 * (window.devicePixelRatio || 1);
    context.fillStyle = "#000";
    context.fillRect(wipe * width - line, 0, 2 * line, height);
    context.fillStyle = "#fff";
    context.fillRect(wipe * width - line / 2, 0, line, height);
  }

  /** The curves of the scores; a click leads to the frame. */
  function plot() {
    const values = curves.flatMap((one) => one ?? []);
    curve.replaceChildren();
    score.textContent = "";
    if (!values.length) return;
    const [low, high] = [Math.min(...values), Math.max(...values)];
    const pad = Math.max(0.05 * (high - low), 0.02 * high, 1e-3);
    const last = Math.max(...curves.map((one) => one?.length ?? 0), 2) - 1;
    const y = (value) => 100 - 100 * (value - low + pad) / (high - low + 2 * pad);
    const points = (one) => one.map(
      (value, frame) => `${100 * frame / last},${y(value).toFixed(2)}`).join(" ");
    const lines = curves.map((one, side) => one
      && `<polyline points="${points(one)}" style="stroke: ${COLOURS[side]}"/>`);
    curve.innerHTML = `<svg viewBox="0 0 100 100" preserveAspectRatio="none" aria-hidden="true">${
      lines.filter(Boolean).join("")}<line class="cursor" y1="0" y2="100"/></svg>`;
    curve.append(make("span", { className: "high" }, high.toPrecision(3)),
      make("span", { className: "low" }, low.toPrecision(3)));
    curve.onclick = (event) => {
      const box = curve.getBoundingClientRect();
      play.step(Math.round(last * (event.clientX - box.left) / box.width) - play.frame());
    };
    mark();
  }

  /** The cursor of the curves, and the scores of the frame that is shown. */
  function mark() {
    const frame = shown ?? 0, line = curve.querySelector(".cursor");
    if (!line) return;
    const last = Math.max(...curves.map((one) => one?.length ?? 0), 2) - 1;
    line.setAttribute("x1", 100 * frame / last);
    line.setAttribute("x2", 100 * frame / last);
    score.replaceChildren(`${metric} of frame ${frame + 1}: `, ...curves.flatMap((one, side) => one
      ? [make("b", { style: `color: ${COLOURS[side]}` }, "■ "),
        `${pair[side]} ${one[frame]?.toPrecision(4) ?? ""} `] : []));
  }

  canvas.addEventListener("pointerdown", (event) => {
    if (!size || event.button) return;
    event.preventDefault();
    root.focus({ preventScroll: true });
    drag = { x: event.clientX, y: event.clientY, pans: event.shiftKey || difference };
    canvas.setPointerCapture(event.pointerId);
    if (!drag.pans) canvas.dispatchEvent(new PointerEvent("pointermove", event));
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!drag) return;
    const box = canvas.getBoundingClientRect();
    if (drag.pans) {
      pan((drag.x - event.clientX) / box.width, (drag.y - event.clientY) / box.height);
      [drag.x, drag.y] = [event.clientX, event.clientY];
    } else slide((event.clientX - box.left) / box.width);
  });
  for (const end of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(end, () => { drag = null; });
  }

  const watch = new ResizeObserver(fit);
  watch.observe(stage);
  enlarge(1);
  ask("show");
  return () => {
    close();
    play.stop();
    decks.forEach((one) => one.open(null, [0]));
    watch.disconnect();
  };
}

export default { render };
