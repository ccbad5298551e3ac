"use strict";
// Progress of a run: what the server sends, until the run has ended; then the page with its report is loaded.
const place = document.getElementById("progress");
if (place) {
  const state = place.querySelector(".state");
  const bar = place.querySelector("progress");
  const figures = place.querySelector(".figures");
  const stages = place.querySelector(".stages");
  const printed = place.querySelector(".printed");
  const losses = place.querySelector(".losses");
  let atWork = true;
  const source = new EventSource(place.dataset.run + "/progress");
  source.onmessage = (event) => {
    const news = JSON.parse(event.data);
    if (news.state !== "at work") {
      if (atWork) { source.close(); location.reload(); }
      return;
    }
    const words = [];
    if (news.share === null) bar.removeAttribute("value");
    else { bar.value = news.share; words.push(Math.floor(100 * news.share) + " %"); }
    if (news.left) words.push("about " + news.left + " left");
    if (news.step !== null) words.push("step " + news.step);
    if (news.tokens_per_second) words.push(Math.round(news.tokens_per_second) + " tokens/s");
    figures.textContent = words.join(" · ");
    // A screen reader says the stage when it changes; the figures, which change every second, it reads when asked.
    const stage = news.title || (news.stage && news.stage.replaceAll("-", " "));
    const text = stage ? "At work: " + stage : "At work";
    if (state.textContent !== text) state.textContent = text;
    stages.replaceChildren(...news.stages.map((each) => {
      const line = document.createElement("li");
      line.textContent = each.name.replaceAll("-", " ") + ": " + each.seconds + " s";
      return line;
    }));
    printed.textContent = news.printed;
    draw(news.losses);
  };
  source.onerror = () => { state.textContent = "The connection is broken; trying again …"; };
  function draw(points) {
    losses.replaceChildren();
    if (points.length < 2) return;
    const x = points.map((p) => p[0]), y = points.map((p) => p[1]);
    const [left, right, low, high] = [Math.min(...x), Math.max(...x), Math.min(...y), Math.max(...y)];
    const line = document.createElementNS("http://www.w3.org/2000/svg", "polyline");
    line.setAttribute("points", points.map(([a, b]) =>
      (5 + 590 * (a - left) / (right - left || 1)) + "," + (155 - 150 * (b - low) / (high - low || 1))).join(" "));
    losses.append(line);
    losses.setAttribute("aria-label", "Loss by step: " + y[0].toPrecision(3) + " at step " + x[0] + ", " +
      y[y.length - 1].toPrecision(3) + " at step " + x[x.length - 1]);
  }
}
