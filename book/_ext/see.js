// The page "See it": answers the widget's questions from the page's own data, without a kernel.
const place = document.getElementById("see");

function of_page(clips, folder) {
  let hear = null, current = 0, pair = ["source", "optimized"];
  const tell = (what, facts, files) => queueMicrotask(() => hear({ what, ...facts }, files));
  const metrics = Object.fromEntries(clips[0].reports.map(({ variant }) => [variant, "vmaf"]));
  const answers = {
    show() {
      const { id, label, reports, ...size } = clips[current];
      const report = (name) => reports.find(({ variant }) => variant === name);
      tell("clip", { id, label: label.replaceAll("_", " "), place: current, clips: clips.length,
        pair, order: "table", metrics, mind: "",
        reports: [...pair, "source"].map(report) });
      tell("videos", { ...size, of: id, codecs: ["h264", "h264"] },
        pair.map((name) => `${folder}/${id}-${name}.mp4`));
    },
    step(by) {
      current = clamp(current + by, 0, clips.length - 1);
      answers.show();
    },
    choose(left, right) {
      pair = [left, right];
      answers.show();
    },
    scores: () => tell("scores", { of: clips[current].id, metric: "vmaf",
      curves: pair.map((name) => clips[current].curves[name] ?? null) }),
  };
  return {
    few: true, on: (name, act) => { hear = act; }, off: () => { hear = null; },
    send: ({ do: what, with: values }) => answers[what](...values),
  };
}

// Some Firefox have no H.264 decoder: there the page keeps its pictures.
if (place && document.createElement("video").canPlayType('video/mp4; codecs="avc1.64000D"')) {
  const model = of_page(JSON.parse(document.getElementById("see-clips").textContent),
    place.dataset.folder);
  document.documentElement.classList.add("plays");
  render({ model, el: place });
}
