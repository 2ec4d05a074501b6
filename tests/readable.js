/* What of a page cannot be used by everybody: controls without a name, and text that hardly stands out (WCAG 2.2, AA). */
() => {
  const controls = "button, a, input:not([type=hidden]), select, textarea";
  const named = (one) => (one.textContent || "").trim() || one.getAttribute("aria-label") || one.labels?.length;
  const nameless = [...document.querySelectorAll(controls)].filter((one) => !named(one));

  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgba = (color) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = color;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const linear = (value) => (value / 255 <= 0.04045 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4);
  const luminance = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  const behind = (one) => {
    for (; one; one = one.parentElement) {
      const color = rgba(getComputedStyle(one).backgroundColor);
      if (color[3] === 255) return color;
    }
    return [255, 255, 255, 255];
  };
  const contrast = (one) => {
    const [less, more] = [luminance(rgba(getComputedStyle(one).color)), luminance(behind(one))].sort((x, y) => x - y);
    return (more + 0.05) / (less + 0.05);
  };
  const says = (one) => [...one.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.textContent.trim());
  const seen = (one) => one.checkVisibility() && !one.closest(":disabled, .sr, option, noscript, dialog");
  const pale = [...document.querySelectorAll("main *, header *")]
    .filter((one) => says(one) && seen(one) && contrast(one) < 4.5);

  const told = (kind) => (one) => `${kind}: ${one.outerHTML.slice(0, 120)}`;
  return [...nameless.map(told("no name")), ...pale.map(told("pale"))];
};
