(() => {
  "use strict";
  const root = document.documentElement, system = matchMedia("(prefers-color-scheme: dark)");
  const paint = () => root.classList.toggle("dark-mode", root.dataset.theme === "dark" || (root.dataset.theme === "auto" && system.matches));
  system.addEventListener("change", paint);
  paint();
  /* No validator: it would be told about this service. */
  document.addEventListener("DOMContentLoaded", () => SwaggerUIBundle({ url: "/openapi.json", dom_id: "#docs", deepLinking: true, validatorUrl: null, displayRequestDuration: true, defaultModelsExpandDepth: 0 }));
})();
