// The view for unknown addresses.

import { empty } from "../components/basics.js";
import { html } from "../vendor/lit-html/lit-html.js";
import { address } from "../shell/root.js";

/** @returns {import("../app.js").View} */
export default function notFound() {
  return {
    title: "Not found",
    render: () =>
      empty(
        "Page not found",
        "The address may be mistyped, or the page may be gone.",
        html`<a class="button" href=${address("/")}>All jobs</a>`,
      ),
  };
}
