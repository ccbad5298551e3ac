"use strict";
// What the run will take: `expunge plan` works it out in a process of its own.
const place = document.getElementById("plan");
const gib = (bytes) => (bytes / 2 ** 30).toFixed(1) + " GiB";
fetch(place.dataset.plan).then((response) => response.json()).then((found) => {
  place.replaceChildren();
  const line = (name, text) => {
    const made = document.createElement(name);
    made.textContent = text;
    place.append(made);
    return made;
  };
  if (found.error) { line("pre", found.error).className = "warnings"; return; }
  const plan = found.plan;
  line("p", found.fits ? "It fits on this machine as it is." : "It does not fit as it is: look at what the terminal's expunge plan proposes.");
  const words = [];
  if (plan.peak_bytes) words.push("at most " + gib(plan.peak_bytes) + " of memory");
  if (plan.seconds) words.push("about " + Math.ceil(plan.seconds / 60) + " min");
  if (words.length) line("p", words.join(", "));
}).catch((error) => { place.textContent = "There is no plan: " + error.message; });
