// What happens on the page.
import { ask, hasEnded, post, send } from "./api.js";
import { draw, drawEdits, sweep } from "./controls.js";
import { at, make, on, rounded, tell } from "./dom.js";
import { watch } from "./jobs.js";
import { exported, facts, Library } from "./library.js";
import { Viewer } from "./viewer.js";

const PAUSE_MS = 700;

async function begin() {
  const model = await ask("/v1/model");
  at("model").textContent = `Made by the model ${model.name} on ${model.device}. ${model.description}. Licence: ${model.licence}.`;
  at("what").title = model.limitations;
  const controls = draw(model);
  const edits = drawEdits(model);
  const viewer = new Viewer();
  const library = new Library(open);

  // One after the other; of those that wait only the last is shown.
  let wanted = 0, showing = Promise.resolve();
  function open(head, other = null) {
    const mine = ++wanted;
    facts(head, model.conditions);
    edits.show(head);
    library.mark(head, other);
    current(head);
    const show = async () => {
      if (mine !== wanted) return;
      await viewer.show(head);
      await viewer.compare(other);
      await strip(head);
    };
    return queue(show);
  }
  const queue = (step) => (showing = showing.then(step, step));

  const takes = (job) => watch(job, async (ended) => {
    await library.refresh();
    if (ended.state !== "finished") return;
    if (ended.kind === "label") return labelled(job.request.head);
    const [head, other] = await Promise.all(ended.heads.map((id) => ask(`/v1/heads/${id}`)));
    if (ended.kind !== "edit") return open(head, ended.kind === "scan" ? other : null);
    const before = await ask(`/v1/heads/${head.of}`).catch(() => null);
    await open(head, before);
    if (before) await queue(() => viewer.difference(true));
  });

  on(at("ask"), "submit", async (event) => {
    event.preventDefault();
    tell("");
    takes(await post("/v1/jobs", { kind: "generate", ...controls.asked() }));
  });
  on(at("make-sweep"), "click", async () => {
    tell("");
    takes(await post("/v1/jobs", { kind: "sweep", ...controls.asked(), ...sweep() }));
  });
  on(at("labels"), "click", async () => {
    const wanted = !viewer.labelled;
    const missing = wanted ? viewer.heads.filter((head) => head.quality === null) : [];
    if (!missing.length) return queue(() => viewer.label(wanted));
    for (const head of missing) takes(await post("/v1/jobs", { kind: "label", head: head.id }));
  });
  async function labelled(id) {
    const head = await ask(`/v1/heads/${id}`);
    if (!viewer.know(head)) return;
    if (viewer.first.head.id === id) facts(head, model.conditions);
    await queue(() => viewer.label(true));
  }
  on(at("make-edit"), "click", async () => {
    if (!viewer.first.head) throw new Error("There is no head to change: make one, or drop a scan.");
    tell("");
    takes(await post("/v1/jobs", { kind: "edit", head: viewer.first.head.id, ...edits.asked(), extrapolate: at("extrapolate").checked }));
  });
  const scan = async (file) => {
    if (file.size > model.limits.upload) throw new Error(`${file.name} has more than ${model.limits.upload} bytes.`);
    tell("");
    takes(await send(file));
  };
  on(at("file"), "change", () => scan(at("file").files[0]));
  dropping(scan);

  let playing = false;
  async function strip(head) {
    const job = await ask(`/v1/jobs/${head.job}`).catch(() => null);
    const heads = job?.kind === "sweep" ? job.heads.map((id) => library.heads.find((each) => each.id === id)).filter(Boolean) : [];
    at("strip").hidden = heads.length < 2;
    if (at("strip").hidden) playing = false;
    if (at("strip").hidden || at("frames").dataset.job === job.id) return current(head);
    at("frames").dataset.job = job.id;
    at("gif").href = `/v1/jobs/${job.id}/animation`;
    at("zip").href = exported(heads);
    at("frames").replaceChildren(...heads.map((each) => frame(each, each.conditions[job.request.condition])));
    at("play").onclick = () => play(heads).catch((error) => tell(error.message));
    current(head);
  }

  function frame(head, { value, unit }) {
    const picture = make("img", { src: `/v1/heads/${head.id}/thumbnail`, alt: "" });
    const button = make("button", { type: "button" }, picture, `${rounded(value)} ${unit}`);
    button.dataset.head = head.id;
    on(button, "click", () => {
      playing = false;
      return open(head);
    });
    return button;
  }

  async function play(heads) {
    playing = !playing;
    at("play").textContent = playing ? "Stop" : "Play";
    for (let i = 0; playing; i = (i + 1) % heads.length) {
      await open(heads[i]);
      await new Promise((done) => setTimeout(done, PAUSE_MS));
    }
    at("play").textContent = "Play";
  }

  function current(head) {
    for (const frame of at("frames").children) frame.setAttribute("aria-pressed", frame.dataset.head === head.id);
  }

  await library.refresh();
  for (const job of (await ask("/v1/jobs?state=queued&state=running")).reverse()) if (!hasEnded(job)) takes(job);
  if (library.heads.length) await open(library.heads[0]);
}

function dropping(scan) {
  const over = (event, shown) => {
    event.preventDefault();
    document.body.classList.toggle("dropping", shown);
  };
  on(document, "dragover", (event) => over(event, true));
  on(document, "dragleave", (event) => over(event, false));
  on(document, "drop", async (event) => {
    over(event, false);
    const [file] = event.dataTransfer.files;
    if (file) await scan(file);
  });
}

begin().catch((error) => tell(error.message));
