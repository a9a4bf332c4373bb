// Jobs that wait or run: how far each is, a look at it, and a way to end it.
import { ask, follow, hasEnded } from "./api.js";
import { at, make, on, tell } from "./dom.js";

export function watch(job, ended) {
  const bar = make("progress", { max: 1 });
  const said = make("span");
  const cancel = make("button", { type: "button" }, "Cancel");
  const look = make("img", { alt: "What is being denoised", hidden: true });
  const element = make("div", { className: "job" }, make("div", { className: "line" }, said, cancel), bar, look);
  element.dataset.job = job.id;
  at("jobs").append(element);
  on(cancel, "click", () => ask(`/v1/jobs/${job.id}`, { method: "DELETE" }));
  const show = (now) => {
    said.textContent = describe(now);
    if (now.total) bar.value = now.done / now.total;
    else bar.removeAttribute("value");
    if (now.preview && now.phase === "denoise") {
      look.src = `/v1/jobs/${job.id}/preview?step=${now.done}`;
      look.hidden = false;
    }
    if (!hasEnded(now)) return;
    element.remove();
    if (now.state === "failed") tell(now.error);
    ended(now);
  };
  show(job);
  follow(job.id, show);
}

function describe(job) {
  if (job.state === "queued") return job.place === 1 ? "Next in the queue" : `Place ${job.place} in the queue`;
  if (!job.total) return "Begins";
  const names = { denoise: "Denoising", decode: "Decoding", read: "Reading", register: "Registering", reconstruct: "Reconstructing", label: "Labelling" };
  const left = job.seconds_left ? `, ${Math.ceil(job.seconds_left)} s left` : "";
  return `${names[job.phase] ?? job.phase} ${job.done} of ${job.total}${left}`;
}
