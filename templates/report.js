"use strict";
// Sorting and filtering only: everything is readable without this script.
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

  var select = document.getElementById("gallery-class");
  if (select) {
    var items = Array.prototype.slice.call(document.querySelectorAll(".gallery .item"));
    var count = document.getElementById("gallery-count");
    select.addEventListener("change", function () {
      var shown = 0;
      items.forEach(function (item) {
        item.hidden = select.value !== "" && item.dataset.class !== select.value;
        if (!item.hidden) shown += 1;
      });
      count.textContent = shown + " of " + items.length;
    });
  }
})();
