// Two screens of NiiVue, linked: planes or 3-D, position and intensity, and the difference of two.
import { ask } from "./api.js";
import { at, make, rounded, sentence } from "./dom.js";

const PLANES = 3, SOLID = 4;
const OPTIONS = {
  backColor: [0, 0, 0, 1],
  crosshairColor: [0.3, 0.75, 1, 0.8],
  crosshairWidth: 1,
  crosshairWidthUnit: "mm",
  crosshairGap: 6,
  isOrientationTextVisible: true,
  isRadiologicalConvention: false,
  multiplanarShowRender: 0, // 3-D when it is asked for: it is slow without a GPU
  dragAndDropEnabled: false,
  isResizeCanvas: true,
  loadingText: "",
  logLevel: "error",
};

const MOVES = {
  ArrowLeft: [-1, 0, 0], ArrowRight: [1, 0, 0], PageDown: [0, -1, 0], PageUp: [0, 1, 0], ArrowDown: [0, 0, -1], ArrowUp: [0, 0, 1],
};

class Screen {
  constructor(id) {
    this.caption = at(`${id}-name`);
    this.figure = at(id).closest("figure");
    this.engine = new window.niivue.Niivue(OPTIONS);
    this.ready = this.engine.attachTo(id);
    this.head = null;
    at(id).addEventListener("keydown", (event) => {
      if (event.key !== "Tab") event.stopImmediatePropagation(); // NiiVue's own keys fail without a head
      const move = MOVES[event.key];
      if (!move || !this.engine.volumes.length) return;
      event.preventDefault();
      this.engine.moveCrosshairInVox(...move);
    }, { capture: true });
  }

  async show(head) {
    await this.ready;
    this.figure.hidden = !head;
    this.caption.textContent = head ? label(head) : "";
    if (this.head?.id === head?.id) return;
    this.head = head;
    if (!head) return;
    const url = new URL(`/v1/heads/${head.id}/volume`, location.href).href;
    await this.engine.loadVolumes([{ url, name: head.file, colormap: "gray", cal_min: 0, cal_max: 1 }]);
    this.engine.createOnLocationChange();
  }

  // The structures over the head, in their colours; what they are.
  async label() {
    const structures = await ask(`/v1/heads/${this.head.id}/structures`);
    const url = new URL(`/v1/heads/${this.head.id}/labels`, location.href).href;
    await this.engine.addVolumeFromUrl({ url, name: "labels.nii.gz", opacity: 0.5, colorbarVisible: false });
    this.engine.volumes.at(-1).setColormapLabel(colours(structures));
    this.engine.updateGLVolume();
    return structures;
  }

  clear() {
    for (const volume of this.engine.volumes.slice(1)) this.engine.removeVolume(volume);
  }
}

function colours(structures) {
  const parts = structures.map(({ colour }) => [1, 3, 5].map((i) => parseInt(colour.slice(i, i + 2), 16)));
  const channel = (i) => [0, ...parts.map((part) => part[i])];
  return {
    R: channel(0), G: channel(1), B: channel(2), A: [0, ...parts.map(() => 255)],
    I: [0, ...structures.map((each) => each.number)], labels: ["", ...structures.map((each) => each.name)],
  };
}

function legend(structures) {
  at("legend").hidden = structures.length === 0;
  at("legend").querySelector("ul").replaceChildren(...structures.map(({ name, colour, volume_ml }) => {
    const square = make("span", { className: "square" });
    square.style.background = colour;
    return make("li", {}, square, sentence(name), volume_ml === null ? "" : make("span", { className: "volume" }, `${rounded(volume_ml)} mL`));
  }));
}

const label = (head) => `${head.name} · ${head.kind === "synthetic" ? "synthetic" : head.kind}`;

export class Viewer {
  constructor() {
    this.first = new Screen("first");
    this.second = new Screen("second");
    this.first.engine.onLocationChange = (place) => this.#tell(place);
    this.#slices(PLANES);
    at("planes").onclick = () => this.#slices(PLANES);
    at("solid").onclick = () => this.#slices(SOLID);
    at("alone").onclick = () => this.compare(null);
    this.labelled = false;
    at("difference").onclick = () => this.difference(at("difference").getAttribute("aria-pressed") !== "true");
    window.brainldm = this; // for the console, and for tests
  }

  async show(head) {
    await this.difference(false);
    await this.first.show(head);
    await this.label(this.labelled);
  }

  // What is shown.
  get heads() {
    return [this.first.head, this.second.figure.hidden ? null : this.second.head].filter(Boolean);
  }

  // A head of which more is known now; whether it is shown.
  know(head) {
    const screens = [this.first, this.second].filter((screen) => screen.head?.id === head.id);
    for (const screen of screens) screen.head = head;
    return screens.length > 0;
  }

  // Labels over the heads that have some, or over none.
  async label(wanted) {
    await this.difference(false);
    this.labelled = wanted;
    at("labels").setAttribute("aria-pressed", wanted);
    let told = [];
    for (const screen of [this.second, this.first]) {
      if (wanted && this.heads.includes(screen.head) && screen.head.quality !== null) told = await screen.label();
    }
    legend(told);
  }

  async compare(head) {
    await this.difference(false);
    this.#link(false); // a screen without a head cannot be moved
    await this.second.show(head);
    await this.label(this.labelled);
    this.#link(Boolean(head));
    at("alone").hidden = at("difference").hidden = !head;
    this.first.engine.resizeListener?.();
  }

  #link(wanted) {
    for (const [one, other] of [[this.first, this.second], [this.second, this.first]]) {
      one.engine.broadcastTo(wanted ? [other.engine] : [], { "2d": true, "3d": true });
    }
  }

  #tell(place) {
    const [x, y, z] = place.mm.map((each) => Math.round(each));
    const value = place.values?.[0]?.value;
    at("place").textContent = `${x}, ${y}, ${z} mm (right, front, up)` + (value === undefined ? "" : `: ${rounded(value)}`);
  }

  #slices(type) {
    for (const screen of [this.first, this.second]) screen.engine.setSliceType(type);
    at("planes").setAttribute("aria-pressed", type === PLANES);
    at("solid").setAttribute("aria-pressed", type === SOLID);
  }

  // The first head minus the second, over the first, in colours: warm where the first is brighter.
  async difference(wanted) {
    const { engine } = this.first;
    if (wanted) await this.label(false);
    at("difference").setAttribute("aria-pressed", wanted);
    for (const screen of [this.first, this.second]) screen.clear();
    engine.opts.isColorbar = wanted;
    if (wanted) {
      const [one, other] = [engine.volumes[0], this.second.engine.volumes[0]];
      if (one.img.length !== other.img.length) throw new Error("The two heads lie on different grids.");
      const map = one.clone();
      map.img = Float32Array.from(one.img, (value, i) => scaled(one, value) - scaled(other, other.img[i]));
      Object.assign(map.hdr, { datatypeCode: 16, numBitsPerVoxel: 32, scl_slope: 1, scl_inter: 0 });
      Object.assign(map, { name: "difference", colormap: "warm", colormapNegative: "winter", opacity: 0.8 });
      Object.assign(map, { cal_min: 0.03, cal_max: 0.4, cal_minNeg: -0.4, cal_maxNeg: -0.03 });
      one.colorbarVisible = false;
      engine.addVolume(map);
    }
    if (engine.volumes.length) engine.updateGLVolume();
  }
}

const scaled = (volume, value) => value * (volume.hdr.scl_slope || 1) + (volume.hdr.scl_inter || 0);
