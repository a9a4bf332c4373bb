// Small helpers for the page's elements.

export const at = (id) => document.getElementById(id);

export function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

export const words = (name) => name.replace(/_ml$/, "").replaceAll("_", " ");

export const sentence = (name) => words(name).replace(/^./, (x) => x.toUpperCase());

export const rounded = (value) =>
  typeof value === "number" ? String(Number(value.toPrecision(4))) : String(value);

let fading;

export function tell(text) {
  const notice = at("notice");
  notice.textContent = text;
  notice.hidden = !text;
  clearTimeout(fading);
  if (text) fading = setTimeout(() => (notice.hidden = true), 20000);
}

// Run what an element asks for; what goes wrong is told.
export const on = (element, event, does) =>
  element.addEventListener(event, async (happened) => {
    try {
      await does(happened);
    } catch (error) {
      tell(error.message);
    }
  });
