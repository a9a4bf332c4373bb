// What was made: found, shown, compared, named, exported and deleted.
import { ask } from "./api.js";
import { at, make, on, rounded, sentence, tell } from "./dom.js";

export class Library {
  constructor(open) {
    this.open = open;
    this.heads = [];
    this.chosen = new Set();
    let waiting;
    on(at("search"), "input", () => {
      clearTimeout(waiting);
      waiting = setTimeout(() => this.refresh().catch((error) => tell(error.message)), 200);
    });
    on(at("compare"), "click", () => this.open(...this.#chosenHeads()));
    on(at("export"), "click", () => (location.href = exported(this.#chosenHeads())));
    on(at("delete"), "click", () => this.#delete());
  }

  async refresh() {
    this.heads = await ask(`/v1/heads?search=${encodeURIComponent(at("search").value)}`);
    const there = new Set(this.heads.map((head) => head.id));
    this.chosen = new Set([...this.chosen].filter((id) => there.has(id)));
    at("heads").replaceChildren(...this.heads.map((head) => this.#card(head)));
    this.#count();
  }

  mark(...heads) {
    const shown = new Set(heads.filter(Boolean).map((head) => head.id));
    for (const card of at("heads").children) card.classList.toggle("shown", shown.has(card.dataset.head));
  }

  #chosenHeads() {
    return this.heads.filter((head) => this.chosen.has(head.id));
  }

  #count() {
    at("compare").disabled = this.chosen.size !== 2;
    at("export").disabled = at("delete").disabled = this.chosen.size === 0;
  }

  async #delete() {
    const heads = this.#chosenHeads();
    if (!confirm(`Delete ${heads.length === 1 ? `"${heads[0].name}"` : `${heads.length} heads`} and their files?`)) return;
    for (const head of heads) await ask(`/v1/heads/${head.id}`, { method: "DELETE" });
    await this.refresh();
  }

  #card(head) {
    const box = make("input", { type: "checkbox", checked: this.chosen.has(head.id), ariaLabel: `Choose ${head.name}` });
    box.onchange = () => {
      this.chosen[box.checked ? "add" : "delete"](head.id);
      this.#count();
    };
    const picture = make("button", { type: "button", className: "picture", title: "Show" },
      make("img", { src: `/v1/heads/${head.id}/thumbnail`, alt: `Three slices of ${head.name}`, loading: "lazy" }));
    on(picture, "click", () => this.open(head));
    const rename = make("button", { type: "button" }, "Rename");
    on(rename, "click", () => this.#rename(head));
    const line = make("div", { className: "line" }, rename,
      make("a", { href: `/v1/heads/${head.id}/volume`, download: head.file }, "NIfTI"),
      make("a", { href: `/v1/heads/${head.id}/sidecar`, download: head.file.replace(/\.nii\.gz$/, ".json") }, "JSON"));
    if (head.command) line.append(copies("Copy as command", head.command), copies("Copy as Python", head.python));
    const card = make("li", {}, picture, make("label", { className: "name" }, box, ` ${head.name}`),
      make("p", { className: "small" }, summary(head)), line);
    card.dataset.head = head.id;
    return card;
  }

  async #rename(head) {
    const name = prompt("Name", head.name);
    if (name === null) return;
    await ask(`/v1/heads/${head.id}`, {
      method: "PATCH",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ name }),
    });
    await this.refresh();
  }
}

export const exported = (heads) => `/v1/export?${new URLSearchParams(heads.map((head) => ["id", head.id]))}`;

export function summary(head) {
  const values = Object.values(head.conditions).map((each) => `${rounded(each.value)} ${each.unit}`.trim());
  if (head.psnr !== null) values.push(`PSNR ${rounded(head.psnr)} dB`);
  return [head.kind, ...values].join(", ");
}

// What is known of a head; `known` is what the model's conditions are among people.
export function facts(head, known) {
  const rows = Object.entries(head.conditions).map(([name, each]) => [
    sentence(name),
    `${rounded(each.value)} ${each.unit}${head.drawn.includes(name) ? " (by chance)" : ""}`,
  ]);
  for (const [name, value] of Object.entries(head.measured)) {
    const spread = known.find((each) => each.name === name)?.spread;
    const usual = spread ? `; nine of ten people have ${rounded(spread[0])} to ${rounded(spread[1])}` : "";
    rows.push([`${sentence(name)}, measured`, `${rounded(value)} mL${usual}`]);
  }
  if (head.quality !== null) rows.push(["Quality of the labels", rounded(head.quality)]);
  for (const fault of head.faults) rows.push(["No volumes", fault]);
  if (head.seed !== null) rows.push(["Seed", String(head.seed)]);
  if (head.psnr !== null) rows.push(["PSNR", `${head.psnr} dB against the scan on the model's grid`]);
  for (const note of head.notes) rows.push(["Note", note]);
  if (head.command) rows.push(["Command", make("pre", {}, head.command)]);
  at("facts").replaceChildren(...rows.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]));
}

function copies(what, text) {
  const button = make("button", { type: "button" }, what);
  on(button, "click", async () => {
    if (navigator.clipboard) await navigator.clipboard.writeText(text);
    else prompt("Copy this line", text); // a page on the local network has no clipboard
    button.textContent = "Copied";
    setTimeout(() => (button.textContent = what), 1500);
  });
  return button;
}
