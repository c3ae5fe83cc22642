// The view for unknown addresses.

import { empty } from "../components/basics.js";
import { html } from "../vendor/lit-html/lit-html.js";

/** @returns {import("../app.js").View} */
export default function notFound() {
  return {
    title: "Not found",
    render: () =>
      empty(
        "Page not found",
        "The address may be mistyped, or the page may be gone.",
        html`<a class="button" href="/">All jobs</a>`,
      ),
  };
}
