// Elements are made here, and text goes into them as text: nothing is ever parsed as HTML.

export const byId = (id) => document.getElementById(id);

// `properties` are those of the element; "data-", "aria-" and role are attributes.
export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (/^(data-|aria-|role$)/.test(name)) made.setAttribute(name, value);
    else made[name] = value;
  }
  made.append(...children);
  return made;
}

// Shows `text`, or hides the element where there is none.
export function say(target, text) {
  target.textContent = text;
  target.hidden = !text;
}

// JavaScript counts in UTF-16; the server counts characters (code points).
export const characters = (text) => Array.from(text);
