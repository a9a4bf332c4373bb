// A control for each condition of the model, with the distribution it was trained on behind it.
import { at, make, rounded, sentence } from "./dom.js";

const SVG = "http://www.w3.org/2000/svg";

export function draw(model) {
  const controls = model.conditions.map((each) => (each.labels ? choice(each) : slider(each)));
  at("conditions").replaceChildren(...controls.map((each) => each.element));
  for (const name of Object.keys(model.samplers)) at("sampler").append(make("option", { value: name }, name));
  at("sampler").value = model.sampler;
  at("sampler").onchange = () => (at("steps").placeholder = model.samplers[at("sampler").value]);
  at("sampler").onchange();
  at("guided").hidden = !model.guided;
  drawSweep(model);
  return { asked: () => asked(controls, model.sampler), show: (values) => controls.forEach((each) => each.set(values[each.name])) };
}

function asked(controls, usual) {
  const given = controls.map((each) => [each.name, each.value()]);
  const number = (id) => (at(id).value === "" ? null : Number(at(id).value));
  return {
    conditions: Object.fromEntries(given.filter(([, value]) => value !== null)),
    seed: number("seed"),
    sampler: at("sampler").value === usual ? null : at("sampler").value,
    steps: number("steps"),
    guidance: at("guided").hidden ? 1 : Number(at("guidance").value),
    extrapolate: at("extrapolate").checked,
    name: at("name").value,
  };
}

function frame(condition, ...children) {
  const chance = make("input", { type: "checkbox" });
  const unit = condition.unit ? ` (${condition.unit})` : "";
  const element = make(
    "fieldset",
    { className: "condition", title: `Distribution: ${condition.source}` },
    make("legend", {}, sentence(condition.name) + unit),
    ...children,
    make("label", { className: "small" }, chance, " left to chance"),
  );
  element.dataset.condition = condition.name;
  return { element, chance };
}

function choice(condition) {
  const buttons = condition.labels.map((label) => make("input", { type: "radio", name: condition.name, value: label }));
  const line = make("div", { className: "line" });
  condition.labels.forEach((label, i) => {
    const share = `${Math.round(100 * condition.share[i])} % of people`;
    line.append(make("label", { title: share }, buttons[i], ` ${label}`));
  });
  const { element, chance } = frame(condition, line);
  const set = (value) => {
    chance.checked = value === undefined || value === null;
    buttons.forEach((button) => {
      button.disabled = chance.checked;
      if (!chance.checked) button.checked = button.value === value;
    });
  };
  chance.onchange = () => set(chance.checked ? null : (buttons.find((x) => x.checked)?.value ?? condition.usual));
  set(condition.usual);
  return { name: condition.name, element, set, value: () => (chance.checked ? null : (buttons.find((x) => x.checked)?.value ?? null)) };
}

function slider(condition) {
  const { low, high } = condition;
  const step = high - low > 20 ? 1 : (high - low) / 100;
  const range = make("input", { type: "range", min: low, max: high, step: "any", ariaLabel: sentence(condition.name) });
  const number = make("input", { type: "number", step: "any", ariaLabel: `${sentence(condition.name)} as a number` });
  const outside = make("output", { className: "outside" });
  const line = make("div", { className: "line" }, number, outside);
  const { element, chance } = frame(condition, histogram(condition.share), range, line);
  const look = () => {
    const value = Number(number.value);
    const beyond = !chance.checked && number.value !== "" && (value < low || value > high);
    outside.textContent = beyond ? `outside ${rounded(low)} to ${rounded(high)}, which the model knows` : "";
    range.disabled = number.disabled = chance.checked;
  };
  const set = (value) => {
    chance.checked = value === undefined || value === null;
    if (!chance.checked) range.value = number.value = value;
    look();
  };
  range.oninput = () => {
    number.value = rounded(Math.round(Number(range.value) / step) * step);
    look();
  };
  number.oninput = () => {
    range.value = number.value;
    look();
  };
  chance.onchange = look;
  set(Number(rounded(condition.usual)));
  return { name: condition.name, element, set, value: () => (chance.checked || number.value === "" ? null : Number(number.value)) };
}

// What the head that is shown is, and what it is to become.
export function drawEdits(model) {
  const rows = model.conditions.map(edit);
  at("edit").hidden = rows.length === 0;
  at("changes").replaceChildren(...rows.map((row) => row.element));
  return {
    show: (head) => rows.forEach((row) => row.show(head)),
    asked: () => {
      const known = {}, changes = {};
      for (const { name, now, then } of rows) {
        if (now() !== null) known[name] = now();
        if (then() !== null && then() !== now()) changes[name] = then();
      }
      if (!Object.keys(changes).length) throw new Error("Nothing is to change: move a slider first.");
      return { known, changes };
    },
  };
}

function edit(condition) {
  const { name, unit, labels, low, high } = condition, said = sentence(name);
  const field = (when) =>
    labels
      ? make("select", { ariaLabel: `${said} ${when}` }, ...["", ...labels].map((each) => make("option", { value: each }, each)))
      : make("input", { type: "number", step: "any", ariaLabel: `${said} ${when}` });
  const now = field("now"), then = field("then");
  const parts = [make("label", { className: "row small" }, "now ", now), make("label", { className: "row small" }, "then ", then)];
  if (!labels) {
    const range = make("input", { type: "range", min: low, max: high, step: "any", ariaLabel: `${said} then, as a slider` });
    range.oninput = () => (then.value = rounded(Number(range.value)));
    then.oninput = () => (range.value = then.value);
    parts.push(range);
  }
  const value = (input) => () => (input.value === "" ? null : labels ? input.value : Number(input.value));
  const show = (head) => {
    const known = head.conditions[name]?.value ?? head.measured[name];
    now.value = then.value = known === undefined ? "" : labels ? known : rounded(known);
    then.oninput?.();
  };
  const element = make("fieldset", { className: "condition" }, make("legend", {}, said + (unit ? ` (${unit})` : "")), ...parts);
  return { name, element, show, now: value(now), then: value(then) };
}

function histogram(share) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", `0 0 ${share.length} 1`);
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-hidden", "true");
  const most = Math.max(...share, 1e-9);
  share.forEach((each, i) => {
    const bar = document.createElementNS(SVG, "rect");
    const height = each / most;
    for (const [name, value] of Object.entries({ x: i, y: 1 - height, width: 1, height })) bar.setAttribute(name, value);
    svg.append(bar);
  });
  return svg;
}

function drawSweep(model) {
  const numbers = model.conditions.filter((each) => !each.labels);
  at("sweep").hidden = numbers.length === 0;
  at("sweep-count").max = model.limits.sweep;
  const select = at("sweep-condition");
  select.append(...numbers.map((each) => make("option", { value: each.name }, sentence(each.name) + (each.unit ? ` (${each.unit})` : ""))));
  select.onchange = () => {
    const chosen = numbers.find((each) => each.name === select.value);
    if (chosen) [at("sweep-start").value, at("sweep-stop").value] = [rounded(chosen.low), rounded(chosen.high)];
  };
  select.onchange();
}

export const sweep = () => ({
  condition: at("sweep-condition").value,
  start: Number(at("sweep-start").value),
  stop: Number(at("sweep-stop").value),
  count: Number(at("sweep-count").value),
});
