// The virtualiser for the page: import it from here, so that it finds what it expects.
import "./production.js";

export * from "./vendor/virtual-core/index.js";
