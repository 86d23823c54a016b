// Draw a square on a clip. Coordinates are pixels of the displayed clip.
const LEAST = 16, GRIP = 9, PAUSE = 400;

/** The square from `anchor` towards `to`: even, at least 16, inside the frame. */
function spanned(anchor, to, size) {
  const right = to.x >= anchor.x, down = to.y >= anchor.y;
  const room = Math.min(right ? size.width - anchor.x : anchor.x,
    down ? size.height - anchor.y : anchor.y);
  const wanted = Math.max(Math.abs(to.x - anchor.x), Math.abs(to.y - anchor.y));
  const side = clamp(2 * Math.round(wanted / 2), LEAST, Math.max(LEAST, 2 * Math.floor(room / 2)));
  return placed({
    x: right ? anchor.x : anchor.x - side, y: down ? anchor.y : anchor.y - side, side }, size);
}

/** The square moved, and if need be made smaller, to lie inside the frame. */
function placed({ x, y, side }, size) {
  const even = 2 * Math.floor(clamp(side, LEAST, Math.min(size.width, size.height)) / 2);
  return {
    x: Math.round(clamp(x, 0, size.width - even)),
    y: Math.round(clamp(y, 0, size.height - even)), side: even };
}

const corners = ({ x, y, side }) => [
  [x, y], [x + side, y], [x, y + side], [x + side, y + side]].map(([a, b]) => ({ x: a, y: b }));

function render({ model, el }) {
  let clip = null, size = null, largest = null, roi = null, suggestion = null;
  let frames = [], picture = null, wanted = 0, drag = null, pending = null;

  const flush = () => {
    if (pending) {
      clearTimeout(pending.timer);
      ask("mark", pending.clip, pending.roi.x, pending.roi.y, pending.roi.side);
      pending = null;
    }
  };
  /** Show the square, and save it once it has been still for `pause` milliseconds. */
  const change = (square, pause = 0) => {
    if (!size) return;
    roi = placed(square, size);
    clearTimeout(pending?.timer);
    pending = { clip, roi, timer: setTimeout(flush, pause) };
    draw();
  };
  const order = (name, ...values) => { flush(); ask(name, ...values); };
  const base = () => roi ?? largest;
  const nudge = (x, y, side = 0) => (event) => {
    if (!size) return;
    const by = event.shiftKey ? 10 : 1, from = base();
    change({ x: from.x + by * (x - side), y: from.y + by * (y - side),
      side: from.side + 2 * by * side }, PAUSE);
  };
  const accept = () => suggestion
    ? change(suggestion) : said({ text: "No motion stands out in this clip." });
  const whole = () => change(largest);
  const undo = () => order("undo");
  const clear = () => order("mark", clip);
  const actions = {
    " ": () => play.toggle(), ",": () => play.step(-1), ".": () => play.step(1),
    p: () => order("step", -1), n: () => order("step", 1), u: () => order("unmarked"),
    PageUp: () => order("step", -1), PageDown: () => order("step", 1),
    m: accept, c: () => order("copy"), l: whole, z: undo,
    Delete: clear, Backspace: clear,
    ArrowLeft: nudge(-1, 0), ArrowRight: nudge(1, 0), ArrowUp: nudge(0, -1), ArrowDown: nudge(0, 1),
    "+": nudge(0, 0, 1), "=": nudge(0, 0, 1), "-": nudge(0, 0, -1), _: nudge(0, 0, -1),
  };

  const root = panel(el, "Mark the square of each clip", actions);
  const count = make("strong", { className: "count" }), about = make("div", { className: "about" });
  const status = make("div", { className: "status", role: "status" });
  const canvas = make("canvas", { role: "img" });
  const stage = make("div", { className: "stage" }, canvas);
  const numbers = Object.fromEntries(["x", "y", "side"].map((name) => [name, make("input", {
    type: "number", min: 0, step: name === "side" ? 2 : 1,
    onchange: () => change({ ...base(), [name]: Math.round(Number(numbers[name].value)) }),
  })]));
  const play = player((frame) => { wanted = frame; fetchPicture(); });
  const told = {
    clip(message) {
      clip = message.id;
      [size, suggestion, picture, frames, roi] = [null, null, null, [], null];
      about.replaceChildren(make("strong", {}, message.label),
        ` · ${message.id} · recording ${message.group}`);
      said({ text: "" });
      play.open(0, 25, () => "");
      draw();
    },
    size(message) {
      [size, largest] = [message, square(message.largest)];
      about.append(` · ${size.width}×${size.height}, ${size.frames} frames`);
      const { every, frames: all } = message;
      play.open(Math.ceil(all / every), message.fps / every,
        (frame) => `frame ${frame * every + 1} of ${all}`);
      fit();
      ask("more", clip);
    },
    state(message) {
      if (!pending && !drag) roi = square(message.roi);
      count.textContent = `${message.marked} of ${message.clips} marked`;
      place.textContent = `Clip ${message.place + 1} of ${message.clips}`;
      draw();
    },
    frames(message, buffers) {
      if (message.of !== clip) return;
      if (buffers.length) {
        frames.push(...buffers.map((buffer) => new Blob([buffer], { type: "image/jpeg" })));
        play.loaded(frames.length);
        if (!picture) play.go(0);
        ask("more", clip);
      } else {
        suggestion = square(message.suggestion);
        draw();
      }
    },
    found: (message) => find.found(message),
    said: (message) => said(message),
    problem(message) {
      said(message);
      status.classList.add("problem");
    },
  };
  const { ask, close } = connect(model, told);
  const find = finder(ask, (id) => order("show", id));
  const place = make("span");
  root.append(
    make("div", { className: "bar" }, count, place,
      button("Previous", "P", actions.p), button("Next", "N", actions.n),
      button("Next unmarked", "U", actions.u), find.element),
    about, stage, play.element,
    make("div", { className: "bar" },
      button("Use suggestion", "M", accept),
      button("Copy from previous of the recording", "C", actions.c),
      button("Largest", "L", whole), button("No square", "Del", clear),
      button("Undo", "Z", undo)),
    make("div", { className: "bar" },
      make("label", {}, "Left ", numbers.x), make("label", {}, "Top ", numbers.y),
      make("label", {}, "Side ", numbers.side), status),
    help(["← ↑ → ↓", "move by 1 pixel, with Shift by 10"], ["+ -", "larger, smaller"],
      ["Space", "play and pause"], [", .", "previous and next frame"],
      ["P N", "previous and next clip"], ["U", "next unmarked"], ["M", "use the dashed suggestion"],
      ["C", "copy the square of the recording's previous marked clip"],
      ["L", "the largest centred square"], ["Del", "no square"], ["Z", "undo"]));

  function square(values) {
    return values && { x: values[0], y: values[1], side: values[2] };
  }

  function said({ text }) {
    status.textContent = text;
    status.classList.remove("problem");
  }

  async function fetchPicture() {
    const frame = wanted, blob = frames[frame];
    if (!blob) return;
    const bitmap = await createImageBitmap(blob);
    if (frame !== wanted || frames[frame] !== blob) return bitmap.close();
    picture?.close();
    picture = bitmap;
    draw();
  }

  /** Make the canvas as large as the page has room for. */
  function fit() {
    if (!size || !stage.clientWidth) return;
    const scale = Math.min(stage.clientWidth / size.width, 520 / size.height, 8);
    const pixels = window.devicePixelRatio || 1;
    canvas.style.width = `${size.width * scale}px`;
    canvas.style.height = `${size.height * scale}px`;
    canvas.width = Math.round(size.width * scale * pixels);
    canvas.height = Math.round(size.height * scale * pixels);
    draw();
  }

  function draw() {
    const context = canvas.getContext("2d");
    canvas.hidden = !size;
    for (const [name, input] of Object.entries(numbers)) {
      input.disabled = !size;
      input.value = size ? base()[name] : "";
    }
    if (!size) return;
    canvas.setAttribute("aria-label", roi
      ? `The square: left ${roi.x}, top ${roi.y}, side ${roi.side}`
      : "No square is saved: the largest centred one is cut");
    const scale = canvas.width / size.width, line = canvas.width / parseFloat(canvas.style.width);
    context.setTransform(scale, 0, 0, scale, 0, 0);
    context.fillStyle = "#000";
    context.fillRect(0, 0, size.width, size.height);
    if (picture) context.drawImage(picture, 0, 0, size.width, size.height);
    const shown = base();
    context.fillStyle = "rgb(0 0 0 / 55%)";
    context.beginPath();
    context.rect(0, 0, size.width, size.height);
    context.rect(shown.x, shown.y, shown.side, shown.side);
    context.fill("evenodd");
    const outline = (box, colour, dashes, width) => {
      context.setLineDash(dashes.map((dash) => dash * line / scale));
      context.lineWidth = width * line / scale;
      context.strokeStyle = colour;
      context.strokeRect(box.x, box.y, box.side, box.side);
    };
    if (suggestion && !same(suggestion, roi)) {
      outline(suggestion, "#000", [], 3);
      outline(suggestion, "#4fc3f7", [7, 5], 2);
    }
    outline(shown, "#000", [], 4);
    outline(shown, roi ? "#ffc107" : "#bbb", [], 2);
    context.fillStyle = roi ? "#ffc107" : "#bbb";
    const grip = GRIP * line / scale;
    for (const corner of corners(shown)) {
      context.fillRect(corner.x - grip / 2, corner.y - grip / 2, grip, grip);
    }
  }

  function same(one, other) {
    return one && other && one.x === other.x && one.y === other.y && one.side === other.side;
  }

  function at(event) {
    const box = canvas.getBoundingClientRect();
    return {
      x: Math.round(clamp((event.clientX - box.left) / box.width, 0, 1) * size.width),
      y: Math.round(clamp((event.clientY - box.top) / box.height, 0, 1) * size.height) };
  }

  /** What a press here would do: {anchor} resizes, {from} moves; else a new square begins. */
  function grabbed(point) {
    const shown = base(), reach = 1.2 * GRIP * size.width / canvas.getBoundingClientRect().width;
    const all = corners(shown);
    const near = all.findIndex(({ x, y }) => Math.hypot(x - point.x, y - point.y) <= reach);
    if (near >= 0) {
      return { anchor: all[3 - near], cursor: near % 3 ? "nesw-resize" : "nwse-resize" };
    }
    const inside = roi && point.x > shown.x && point.x < shown.x + shown.side
      && point.y > shown.y && point.y < shown.y + shown.side;
    return inside ? { from: shown, cursor: "move" }
      : { anchor: point, fresh: true, cursor: "crosshair" };
  }

  canvas.addEventListener("pointerdown", (event) => {
    if (!size || event.button) return;
    event.preventDefault();
    root.focus({ preventScroll: true });
    flush();
    const start = at(event);
    drag = { start, before: roi, ...grabbed(start) };
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!size) return;
    const point = at(event);
    if (!drag) return void (canvas.style.cursor = grabbed(point).cursor);
    const moved = { x: point.x - drag.start.x, y: point.y - drag.start.y };
    if (drag.fresh && Math.hypot(moved.x, moved.y) < LEAST / 2) return;
    roi = drag.from
      ? placed({ ...drag.from, x: drag.from.x + moved.x, y: drag.from.y + moved.y }, size)
      : spanned(drag.anchor, point, size);
    draw();
  });
  canvas.addEventListener("pointerup", () => {
    if (drag && roi && !same(roi, drag.before)) change(roi);
    drag = null;
  });
  canvas.addEventListener("pointercancel", () => {
    if (drag) roi = drag.before;
    drag = null;
    draw();
  });
  root.addEventListener("focusout", flush);

  const watch = new ResizeObserver(fit);
  watch.observe(stage);
  ask("show");
  return () => {
    flush();
    close();
    play.stop();
    watch.disconnect();
  };
}

export default { render };
