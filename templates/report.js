"use strict";
// Sorting, filtering and opening only: everything is readable without this script.
(function () {
  document.documentElement.classList.add("scripted");

  function key(row, column) {
    var cell = row.cells[column];
    if (!cell) return null;
    if (cell.dataset.sort !== undefined) return parseFloat(cell.dataset.sort);
    return cell.classList.contains("num") ? null : cell.textContent.trim().toLowerCase();
  }

  function compare(a, b) {
    if (a === null || b === null) return (a === null) - (b === null) || 0;
    return typeof a === "number" ? a - b : a.localeCompare(b);
  }

  document.querySelectorAll("table.sortable").forEach(function (table) {
    var heads = Array.prototype.slice.call(table.tHead.rows[0].cells);
    heads.forEach(function (head, column) {
      var button = head.querySelector("button.sort");
      if (!button) return;
      button.addEventListener("click", function () {
        var descending = head.getAttribute("aria-sort") === "none" ? head.classList.contains("num")
          : head.getAttribute("aria-sort") === "ascending";
        heads.forEach(function (other) {
          if (other.hasAttribute("aria-sort")) other.setAttribute("aria-sort", "none");
        });
        head.setAttribute("aria-sort", descending ? "descending" : "ascending");
        var body = table.tBodies[0];
        var rows = Array.prototype.slice.call(body.rows).map(function (row) { return [key(row, column), row]; });
        rows.sort(function (a, b) {
          // Rows without a value stay last in either direction.
          if (a[0] === null || b[0] === null) return compare(a[0], b[0]);
          return descending ? compare(b[0], a[0]) : compare(a[0], b[0]);
        });
        rows.forEach(function (pair) { body.appendChild(pair[1]); });
      });
    });
  });

  // The evidence is closed at first: a link to an anchor opens its section, the button and the printer all of them.
  var evidence = Array.prototype.slice.call(document.querySelectorAll("details.evidence"));
  function open() {
    var target = location.hash.length > 1 && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    var around = target && target.closest("details");
    if (!around) return null;
    if (!around.open) { around.open = true; target.scrollIntoView(); }
    return around.querySelector("summary");
  }
  window.addEventListener("hashchange", open);
  document.querySelectorAll('a[href^="#"]').forEach(function (link) {
    link.addEventListener("click", function () {
      window.setTimeout(function () {
        // Whoever follows a link by keyboard goes on from where it leads: to the section's title, which closes it again.
        var title = open();
        if (title) { title.focus({ preventScroll: true }); title.scrollIntoView(); }
      }, 0);
    });
  });
  open();
  var all = document.querySelector(".open-all");
  if (all) all.addEventListener("click", function () {
    var opening = evidence.some(function (part) { return !part.open; });
    evidence.forEach(function (part) { part.open = opening; });
    all.textContent = opening ? "Close all" : "Open all";
  });
  var closed = [];
  window.addEventListener("beforeprint", function () {
    closed = evidence.filter(function (part) { return !part.open; });
    closed.forEach(function (part) { part.open = true; });
  });
  window.addEventListener("afterprint", function () { closed.forEach(function (part) { part.open = false; }); });

  // Two pictures over one another: a slider shows part of each, a button one or the other.
  document.querySelectorAll(".compare").forEach(function (pair) {
    var slide = pair.querySelector(".slide"), cut = pair.querySelector(".cut"), flip = pair.querySelector(".flip");
    if (!cut) return;
    function show(value) {
      cut.value = value;
      slide.style.setProperty("--cut", value + "%");
      cut.setAttribute("aria-valuetext", value + " % of the image");
      if (flip) flip.setAttribute("aria-pressed", value < 50 ? "true" : "false");
    }
    cut.addEventListener("input", function () { show(Number(cut.value)); });
    if (flip) flip.addEventListener("click", function () { show(Number(cut.value) < 50 ? 100 : 0); });
    var dragging = false;
    function follow(event) {
      var box = slide.querySelector("img").getBoundingClientRect();
      show(Math.round(Math.max(0, Math.min(1, (event.clientX - box.left) / box.width)) * 100));
    }
    slide.addEventListener("pointerdown", function (event) {
      if (event.target === cut) return;
      dragging = true;
      slide.setPointerCapture(event.pointerId);
      follow(event);
      event.preventDefault();
    });
    slide.addEventListener("pointermove", function (event) { if (dragging) follow(event); });
    ["pointerup", "pointercancel"].forEach(function (name) { slide.addEventListener(name, function () { dragging = false; }); });
  });

  var pairs = Array.prototype.slice.call(document.querySelectorAll(".compare"));
  var byClass = document.getElementById("picture-class"), byGroup = document.getElementById("picture-group");
  function filterPairs() {
    var shown = 0;
    pairs.forEach(function (pair) {
      pair.hidden = (byClass.value !== "" && pair.dataset.class !== byClass.value)
        || (byGroup.value !== "" && pair.dataset.group !== byGroup.value);
      if (!pair.hidden) shown += 1;
    });
    document.getElementById("picture-count").textContent = shown + " of " + pairs.length;
  }
  if (byClass && byGroup) [byClass, byGroup].forEach(function (s) { s.addEventListener("change", filterPairs); });
})();
