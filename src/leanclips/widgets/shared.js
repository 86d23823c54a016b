// What the widgets share: elements, messages to the kernel, keys, the list of clips, the player.

/** An element: make("button", {title: "…", onclick: …}, "text", child). */
function make(tag, attributes = {}, ...children) {
  const element = Object.assign(document.createElement(tag), attributes);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.includes("-") || name === "role") element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

/** A button that names its key, and a click on which is the same as the key. */
function button(text, key, act) {
  return make("button", { type: "button", onclick: act }, text + " ", make("kbd", {}, key));
}

const clamp = (value, least, most) => Math.min(Math.max(value, least), most);

/** The widget's element: it takes the keys, and none but Ctrl+S and its like reach the notebook. */
function panel(el, label, actions) {
  const root = make("div", {
    className: "leanclips", tabIndex: 0, role: "group", "aria-label": label,
  });
  root.addEventListener("keydown", (event) => {
    const modified = event.ctrlKey || event.metaKey || event.altKey;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    if (modified && key !== "z") return;
    event.stopPropagation();
    const tag = event.target.tagName, type = event.target.type;
    if (tag === "SELECT" || (tag === "INPUT" && type !== "range")) return;
    if (tag === "BUTTON" && (event.key === " " || event.key === "Enter")) return;
    if (type === "range" && /^(Arrow|Page|Home|End)/.test(event.key)) return;
    if (!actions[key]) return;
    event.preventDefault();
    actions[key](event);
  });
  el.append(root);
  return root;
}

/** Ask the kernel, and hand what it tells to the function of that name. */
function connect(model, told) {
  const hear = (message, buffers) => told[message.what]?.(message, buffers);
  model.on("msg:custom", hear);
  return {
    ask: (name, ...values) => model.send({ do: name, with: values }),
    close: () => model.off("msg:custom", hear),
  };
}

/** A field that finds clips by id, class or recording; `open` gets the id of the one chosen. */
function finder(ask, open) {
  const list = make("datalist", { id: `clips-${crypto.getRandomValues(new Uint32Array(1))[0]}` });
  const field = make("input", {
    type: "search", placeholder: "Find a clip",
    "aria-label": "Find a clip by id, class or recording",
  });
  field.setAttribute("list", list.id);
  const choose = () => {
    const ids = [...list.children].map((option) => option.value);
    const id = ids.includes(field.value) ? field.value : ids[0];
    if (field.value && id) {
      open(id);
      field.value = "";
    }
  };
  field.addEventListener("input", (event) => {
    // A choice from the list comes without the type of an edit.
    if (!event.inputType || event.inputType === "insertReplacementText") choose();
    else ask("find", field.value);
  });
  field.addEventListener("keydown", (event) => { if (event.key === "Enter") choose(); });
  const found = ({ of, clips }) => {
    if (of === field.value) {
      list.replaceChildren(...clips.map(([value, label]) => make("option", { value, label })));
    }
  };
  return { element: make("span", {}, field, list), found };
}

/** Play and scrub: `show` gets the number of the frame to show. Playing goes by a timer, or `drive`
 * does it: it gets true to start and false to stop, and tells the frame that it reached (`moved`).
 */
function player(show, drive) {
  let timer = null, fps = 25, ready = 0;
  const range = make("input", { type: "range", min: 0, max: 0, value: 0, "aria-label": "Frame" });
  const play = make("button", { type: "button", className: "play" });
  const told = make("output");
  let name = (frame) => `frame ${frame + 1}`;
  const moved = (frame) => {
    range.value = clamp(frame, 0, Math.max(ready - 1, 0));
    told.textContent = name(Number(range.value));
    range.setAttribute("aria-valuetext", told.textContent);
  };
  const go = (frame) => {
    moved(frame);
    show(Number(range.value));
  };
  const tick = () => go(frame() + 1 < ready ? frame() + 1 : 0);
  const run = (on) => {
    if (!drive) clearInterval(timer);
    timer = !on ? null : drive ? 0 : setInterval(tick, 1000 / fps);
    drive?.(on);
    play.textContent = on ? "❚❚" : "▶";
    play.setAttribute("aria-label", on ? "Pause" : "Play");
  };
  const frame = () => Number(range.value);
  const toggle = () => run(timer === null);
  play.onclick = toggle;
  range.oninput = () => { if (drive) run(false); go(frame()); };
  run(false);
  return {
    element: make("div", { className: "bar player" }, play, range, told),
    frame, toggle, go, moved,
    step: (by) => { run(false); go(frame() + by); },
    stop: () => run(false),
    open: (frames, rate, naming) => {
      Object.assign(range, { max: Math.max(frames - 1, 0), value: 0 });
      [ready, fps, name] = [0, clamp(rate, 1, 60), naming];
      run(timer !== null);
    },
    loaded: (count) => { ready = count; },
  };
}

/** The keys, as a line of text. */
function help(...keys) {
  return make("p", { className: "keys" }, "Keys (click the picture first): ",
    ...keys.flatMap(([key, what], place) => [
      place ? ", " : "", ...key.split(" ").flatMap((one) => [make("kbd", {}, one), " "]), what]),
    ".");
}
