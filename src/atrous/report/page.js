"use strict";
// The page reads well without this script; it adds sliders, sorting, copying and reading values under the pointer.

const shots = [...document.querySelectorAll(".shot")].filter((shot) => shot.querySelector(".frame"));

function setOpacity(shot, percent) {
  shot.style.setProperty("--opacity", percent / 100);
  shot.querySelector("input[type=range]").value = percent;
}

function layerOf(shot) {
  return shot.querySelector("input[type=radio]:checked").value;
}

// ---- one image

for (const shot of shots) {
  const slider = shot.querySelector("input[type=range]");
  setOpacity(shot, slider.value);
  slider.addEventListener("input", () => setOpacity(shot, slider.value));
  const enlarge = shot.querySelector(".enlarge");
  enlarge.hidden = false;
  enlarge.addEventListener("click", () => {
    const wide = shot.classList.toggle("wide");
    enlarge.setAttribute("aria-pressed", String(wide));
    shot.scrollIntoView({ block: "nearest" });
  });
}

// ---- all images

const all = document.querySelector("[data-all]");
if (all && shots.length > 1) {
  all.hidden = false;
  const buttons = [...all.querySelectorAll("button")];
  const press = (view) => buttons.forEach((one) => one.setAttribute("aria-pressed", String(one.dataset.view === view)));
  for (const button of buttons) {
    button.addEventListener("click", () => {
      press(button.dataset.view);
      for (const shot of shots) shot.querySelector(`input[value=${button.dataset.view}]`).checked = true;
    });
  }
  all.querySelector("input").addEventListener("input", (event) => shots.forEach((s) => setOpacity(s, event.target.value)));
  for (const shot of shots) {
    shot.addEventListener("change", () => press(new Set(shots.map(layerOf)).size === 1 ? layerOf(shot) : null));
  }
}

// ---- which class is under the pointer

const classOf = new Map();
for (const item of document.querySelectorAll("[data-colour]")) {
  const known = classOf.get(item.dataset.colour);
  classOf.set(item.dataset.colour, known ? `${known} or ${item.textContent}` : item.textContent);
}

function reader(image) {
  let pixels = null;
  return (across, down) => {
    if (!pixels) {
      const canvas = document.createElement("canvas");
      canvas.width = image.naturalWidth;
      canvas.height = image.naturalHeight;
      pixels = canvas.getContext("2d", { willReadFrequently: true });
      pixels.drawImage(image, 0, 0);
    }
    const x = Math.min(image.naturalWidth - 1, Math.max(0, Math.floor(across * image.naturalWidth)));
    const y = Math.min(image.naturalHeight - 1, Math.max(0, Math.floor(down * image.naturalHeight)));
    const [red, green, blue] = pixels.getImageData(x, y, 1, 1).data;
    return "#" + [red, green, blue].map((value) => value.toString(16).padStart(2, "0")).join("");
  };
}

for (const shot of shots) {
  const frame = shot.querySelector(".frame");
  const photo = shot.querySelector(".photo");
  const probe = shot.querySelector(".probe");
  const truth = reader(shot.querySelector(".truth"));
  const prediction = reader(shot.querySelector(".prediction"));
  frame.addEventListener("pointermove", (event) => {
    const box = photo.getBoundingClientRect();
    const at = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
    const [is, said] = [classOf.get(truth(...at)), classOf.get(prediction(...at))];
    probe.hidden = !is || !said;
    probe.textContent = is === said ? String(is) : `${said}, in truth ${is}`;
    probe.classList.toggle("wrong", is !== said && !String(is).startsWith("void"));
  });
  frame.addEventListener("pointerleave", () => { probe.hidden = true; });
}

// ---- the table of classes

for (const table of document.querySelectorAll("[data-sortable]")) {
  const headers = [...table.tHead.rows[0].cells];
  headers.forEach((header, column) => {
    header.querySelector("button").addEventListener("click", () => {
      // the first click shows what needs attention: the lowest score first, but the most pixels first
      const fallback = column === headers.length - 1 ? "descending" : "ascending";
      const opposite = { ascending: "descending", descending: "ascending" };
      const order = opposite[header.getAttribute("aria-sort")] || fallback;
      headers.forEach((one) => one.removeAttribute("aria-sort"));
      header.setAttribute("aria-sort", order);
      const value = (row) => Number(row.cells[column].dataset.value);
      const sign = order === "ascending" ? 1 : -1;
      table.tBodies[0].append(...[...table.tBodies[0].rows].sort((a, b) => sign * (value(a) - value(b))));
    });
  });
}

// ---- the confusion matrix

const matrix = document.querySelector(".matrix");
const readout = document.querySelector(".readout");
for (const kind of ["pointerover", "click"]) {
  matrix.addEventListener(kind, (event) => {
    const cell = event.target.closest("td[title]");
    if (cell) readout.textContent = cell.title;
  });
}

// ---- commands

function copied(button) {
  const label = button.firstChild;
  const before = label.data;
  label.data = "Copied";
  setTimeout(() => { label.data = before; }, 1500);
}

for (const button of document.querySelectorAll("[data-copy]")) {
  button.hidden = false;
  const code = button.parentElement.querySelector("code");
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(code.textContent);
    } catch {
      getSelection().selectAllChildren(code); // where the clipboard is closed, Ctrl+C is left
      if (!document.execCommand("copy")) return;
    }
    copied(button);
  });
}
