// Small helpers for the page.

/** An element that the page has. */
export function find<T extends HTMLElement = HTMLElement>(id: string): T {
  const element = document.getElementById(id);
  if (!element) throw new Error(`the page has no #${id}`);
  return element as T;
}

/** Makes an element with attributes and children. */
export function make<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Record<string, string> = {},
  ...children: (Node | string)[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** Makes a button. */
export function button(
  text: string,
  title: string,
  act: () => void,
  attributes: Record<string, string> = {},
): HTMLButtonElement {
  const made = make('button', { type: 'button', title, ...attributes }, text);
  made.addEventListener('click', act);
  return made;
}

/** Sets a text, unless it is there already. */
export function say(element: Element, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}
