// `style=${styles({ width: "40%" })}`: lit's style-map for pages whose policy forbids inline styles.
// That one first writes an attribute; this one only ever sets properties.
import { Directive, directive, PartType } from "./vendor/lit-html/directive.js";
import { noChange } from "./vendor/lit-html/lit-html.js";

class Styles extends Directive {
  #set = new Set();

  constructor(part) {
    super(part);
    if (part.type !== PartType.ATTRIBUTE || part.name !== "style" || part.strings?.length > 2) {
      throw new Error("styles() is the whole value of a style attribute");
    }
  }

  render() {
    return noChange;
  }

  /** Names as in CSS ("max-width", "--share"); null and undefined remove a property. */
  update({ element }, [properties]) {
    for (const name of this.#set) {
      if (properties[name] == null) {
        element.style.removeProperty(name);
        this.#set.delete(name);
      }
    }
    for (const [name, value] of Object.entries(properties)) {
      if (value != null) {
        element.style.setProperty(name, value);
        this.#set.add(name);
      }
    }
    return noChange;
  }
}

export const styles = directive(Styles);
