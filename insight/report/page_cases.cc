// Pictures that the network got wrong, and some that it got right, with where it looked; and what the words mean.
#include <algorithm>

#include "core/error.h"
#include "image/draw.h"
#include "insight/render.h"
#include "insight/report/html_internal.h"
#include "insight/report/page_internal.h"

namespace fovea::insight::html {
namespace {

std::string base_name(const std::string& path) {
  const std::size_t slash = path.find_last_of('/');
  return slash == std::string::npos || slash + 1 == path.size() ? path : path.substr(slash + 1);
}

std::string picture(const ReportCase& c, const std::vector<std::uint8_t>& jpeg, const std::string& alt) {
  return str("<img src=\"", data_uri(jpeg), "\" width=\"", c.width, "\" height=\"", c.height, "\" alt=\"", escape(alt),
             "\">");
}

std::string shown(const Report& r, const ReportCase& c) {
  const auto label = static_cast<std::size_t>(c.label), predicted = static_cast<std::size_t>(c.predicted);
  const bool right = c.label == c.predicted;
  const std::string plain = plain_name(r, predicted);
  std::string out = "<li><figure>";
  if (!c.picture.empty()) {
    out += str("<div class=\"pair\">", picture(c, c.picture, str("Picture ", base_name(c.name))));
    if (!c.overlay.empty())
      out += picture(c, c.overlay, str("Grad-CAM for ", plain, " over the picture, strongest ", c.strongest));
    out += "</div>";
  }
  out += str("<figcaption><b>", right ? "" : str(class_name(r, label), " taken for "), class_name(r, predicted),
             "</b>, ", percent(c.confidence), " sure");
  if (!right) out += str("; ", percent(c.label_probability), " for ", class_name(r, label));
  if (!c.strongest.empty()) out += str("; looked most ", escape(c.strongest));
  out += str("<br><span class=\"file\">", name(base_name(c.name)), "</span>");
  if (!c.group.empty()) out += str(" <span class=\"file\">(", name(c.group), ")</span>");
  return out + "</figcaption></figure></li>\n";
}

/// The colours of the maps, from nothing to the strongest.
std::string legend() {
  std::string stops;
  for (int i = 0; i <= 10; ++i) {
    const image::Color c = sequential_color(i / 10.0);
    stops += str(i ? "," : "", "rgb(", int{c.r}, " ", int{c.g}, " ", int{c.b}, ")");
  }
  return str("<p class=\"legend\">nothing <span class=\"scale\" style=\"background:linear-gradient(90deg,", stops,
             ")\"></span> speaks most for the answer</p>\n");
}

}  // namespace

std::string cases(const Report& r) {
  using Kind = ReportCase::Kind;
  std::string out;
  const auto group = [&](Kind kind, const std::string& title, const char* text) {
    std::string items;
    for (const ReportCase& c : r.cases) {
      if (c.kind == kind) items += shown(r, c);
    }
    if (!items.empty()) out += str("<h3>", title, "</h3>\n<p>", text, "</p>\n<ul class=\"cases\">\n", items, "</ul>\n");
  };
  const std::int64_t wrong = r.metrics.n - [&] {
    std::int64_t right = 0;
    for (std::size_t k = 0; k < r.metrics.confusion.size(); ++k) right += r.metrics.confusion[k][k];
    return right;
  }();
  if (wrong == 0) out += "<p>It made no mistake on these pictures.</p>\n";
  group(Kind::confident_mistake, "Most confident mistakes",
        "Wrong, and surest of it. Look here first for wrong labels, too.");
  group(Kind::worst_error, "Worst errors", "The true class got the least probability; those above are not repeated.");
  if (r.metrics.classes.size() == 2) {
    const auto p = static_cast<std::size_t>(r.positive);
    group(Kind::missed, str("Missed: ", class_name(r, p), " taken for ", class_name(r, 1 - p)),
          "The surest ones first. Look here for wrong labels, too.");
    group(Kind::false_alarm, str("False alarms: ", class_name(r, 1 - p), " taken for ", class_name(r, p)),
          "The surest ones first.");
  }
  group(Kind::confident_right, "Right and sure", "For comparison: does it look at the same things when it is right?");
  const bool maps = std::any_of(r.cases.begin(), r.cases.end(), [](const ReportCase& c) { return !c.overlay.empty(); });
  if (maps) {
    out = str(legend(), "<p>Left: what the network saw. Right: Grad-CAM",
              r.layer.empty() ? "" : str(" of layer ", name(r.layer)),
              ", where what it saw speaks for its answer. A map is a hint and no proof: it does not say whether the "
              "network is right to look there.</p>\n",
              out);
  }
  return out;
}

std::string glossary(const Report& r) {
  std::string out = "<dl class=\"terms\">\n";
  const auto term = [&](const char* word, const char* text) { out += str("<dt>", word, "</dt><dd>", text, "</dd>\n"); };
  term("95 % interval",
       "Other pictures of the same kind would give other figures. In 95 of 100 such reports the interval holds the "
       "figure that "
       "endless pictures would give. It does not cover pictures of another kind: another site, camera or season.");
  term("Recall, sensitivity", "Of the pictures of a class, the share that is found.");
  term("Precision", "Of the pictures that are taken for a class, the share that is of it.");
  term("F1", "The harmonic mean of precision and recall.");
  if (r.metrics.classes.size() == 2)
    term("Specificity", "Of the pictures that are not of the class, the share that raises no alarm.");
  term("Area under ROC",
       "Of two pictures, one of the class and one of another, how often the first gets the higher score: 0.5 is "
       "guessing, 1 is perfect.");
  term("Calibration error",
       "How far confidence and share of right answers lie apart, on average over 15 bins of confidence. Few pictures "
       "make it look larger.");
  term("Log loss", "The mean surprise at the true class: 0 is perfect; sure and wrong costs most.");
  if (r.calibrated)
    term("Temperature", "One number by which all scores are divided, so that confidences mean what they say.");
  return out + "</dl>\n";
}

}  // namespace fovea::insight::html
