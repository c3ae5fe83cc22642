// `style=${styles({ width: "40%" })}`: lit's style-map for a content security policy that forbids
// inline styles. Lit's first render writes an attribute; this directive only sets properties.
import { Directive, directive, PartType } from "../vendor/lit-html/directive.js";
import { noChange } from "../vendor/lit-html/lit-html.js";

class Styles extends Directive {
  /** @type {Set<string>} */
  #names = new Set();

  /** @param {import("../vendor/lit-html/directive.js").PartInfo} part */
  constructor(part) {
    super(part);
    if (
      part.type !== PartType.ATTRIBUTE ||
      part.name !== "style" ||
      (part.strings?.length ?? 0) > 2
    ) {
      throw new Error("styles() is the whole value of a style attribute");
    }
  }

  /** @param {Record<string, string | null | undefined>} _properties */
  render(_properties) {
    return noChange;
  }

  /**
   * Names as in CSS ("max-width", "--share"); null and undefined remove a property.
   * @override
   * @param {import("../vendor/lit-html/lit-html.js").AttributePart} part
   * @param {[Record<string, string | null | undefined>]} properties
   */
  update(part, [properties]) {
    const element = /** @type {HTMLElement} */ (part.element);
    for (const name of this.#names) {
      if (properties[name] == null) {
        element.style.removeProperty(name);
        this.#names.delete(name);
      }
    }
    for (const [name, value] of Object.entries(properties)) {
      if (value != null) {
        element.style.setProperty(name, value);
        this.#names.add(name);
      }
    }
    return noChange;
  }
}

export const styles = directive(Styles);
