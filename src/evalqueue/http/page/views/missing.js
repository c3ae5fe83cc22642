// There is nothing at this address.

import { html } from "../vendor/lit-html/lit-html.js";
import { empty } from "../parts.js";

/** @returns {import("../app.js").View} */
export default function missing() {
  return {
    title: "Not found",
    render: () =>
      empty(
        "There is nothing here",
        "The address may be mistyped, or what it named is gone.",
        html`<a class="button" href="/">All jobs</a>`,
      ),
  };
}
