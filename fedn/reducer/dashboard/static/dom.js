// Elements from data. Names come from the network: they only ever become text, never markup.

export const byId = (id) => document.getElementById(id);

export const embedded = () => JSON.parse(byId("data").textContent);

// An element with attributes and children; strings become text, null and false are left out.
export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== false));
  return node;
}

export function text(node, words) {
  if (node.textContent !== words) node.textContent = words;
}

export const show = (node, visible) => node.toggleAttribute("hidden", !visible);

const drawn = new WeakMap();

// Draw the node's content from the value, unless it shows that value already.
export function draw(node, value, content) {
  const seen = JSON.stringify(value);
  if (drawn.get(node) === seen) return;
  drawn.set(node, seen);
  node.replaceChildren(...content(value));
}

// One child per item: unchanged children stay as they are, with what the reader opened, chose or scrolled.
export function keyed(parent, items, key, make) {
  const present = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  const wanted = items.map((item) => {
    const name = String(key(item));
    const seen = JSON.stringify(item);
    const old = present.get(name);
    if (old && drawn.get(old) === seen) return old;
    const node = make(item);
    node.dataset.key = name;
    drawn.set(node, seen);
    return node;
  });
  if (wanted.length === parent.children.length && wanted.every((node, place) => node === parent.children[place])) return;
  parent.replaceChildren(...wanted);
}
