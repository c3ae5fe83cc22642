// The virtualizer, imported after the variable that it reads is defined.
import "./node-env.js";

export * from "../vendor/virtual-core/index.js";
