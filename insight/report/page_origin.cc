// Where a network comes from: model card, pictures, training; and what an answer costs.
#include <algorithm>
#include <cmath>
#include <map>

#include "core/error.h"
#include "insight/report/html_internal.h"
#include "insight/report/page_internal.h"
#include "train/plot.h"

namespace fovea::insight::html {
namespace {

constexpr std::size_t kMostClasses = 60, kMostFindings = 5;

/// Text with line ends kept as paragraphs.
std::string paragraphs(const std::string& text) {
  std::string out, line;
  const auto flush = [&] {
    if (line.find_first_not_of(" \t\r") != std::string::npos) out += str("<p>", escape(line), "</p>");
    line.clear();
  };
  for (const char c : text) {
    if (c == '\n') {
      flush();
    } else {
      line += c;
    }
  }
  flush();
  return out;
}

std::string part_title(const std::string& part) {
  if (part == "train") return "training";
  if (part == "val") return "validation";
  return part.empty() ? "pictures" : escape(part);
}

std::string findings(const Audit& audit, bool names) {
  if (audit.findings.empty())
    return "<p>An audit of all pictures (damage, copies, leaks, shortcuts, outliers) found nothing.</p>\n";
  std::string out = "<h3>What an audit of the pictures found</h3>\n<ul class=\"findings\">\n";
  std::map<FindingKind, std::size_t> shown, all;
  for (const Finding& f : audit.findings) ++all[f.kind];
  for (const Finding& f : audit.findings) {
    // Texts of findings name pictures and groups.
    if (!names) {
      if (++shown[f.kind] == 1)
        out += str("<li", f.serious ? " class=\"serious\"" : "", "><b>", f.serious ? "serious: " : "",
                   to_string(f.kind), "</b> ", all[f.kind], all[f.kind] == 1 ? " time" : " times", "</li>\n");
      continue;
    }
    if (++shown[f.kind] > kMostFindings) continue;
    out += str("<li", f.serious ? " class=\"serious\"" : "", "><b>", f.serious ? "serious: " : "", to_string(f.kind),
               "</b> ", name(f.text), "</li>\n");
    if (shown[f.kind] == kMostFindings && all[f.kind] > kMostFindings)
      out +=
          str("<li>", to_string(f.kind), ": ", all[f.kind] - kMostFindings, " more (<code>fovea audit</code>)</li>\n");
  }
  return out + "</ul>\n";
}

std::vector<double> epochs_of(const Report& r) {
  std::vector<double> out;
  for (const EpochRecord& e : r.epochs) out.push_back(static_cast<double>(e.epoch));
  return out;
}

Series series(const Report& r, const char* title, double EpochRecord::*value) {
  Series s{title, epochs_of(r), {}};
  for (const EpochRecord& e : r.epochs) s.y.push_back(e.*value);
  return s;
}

}  // namespace

std::string card(const Report& r) {
  std::string out = "<dl class=\"card\">\n";
  for (const CardField& field : card_fields()) {
    const std::string& value = r.card.*field.value;
    if (std::string_view(field.key) == "title") continue;
    out += str("<dt>", field.label, "</dt><dd>",
               value.empty() ? "<span class=\"unset\">not stated</span>" : paragraphs(value), "</dd>\n");
  }
  return out + "</dl>\n";
}

std::string data(const Report& r) {
  if (r.parts.empty()) return {};
  std::vector<std::string> columns{"class"};
  std::int64_t total = 0;
  for (const ReportPart& p : r.parts) {
    columns.push_back(part_title(p.name) + ">");
    for (const std::int64_t n : p.counts) total += n;
  }
  columns.emplace_back("share>");
  columns.emplace_back("");
  const std::size_t classes = r.class_names.size();
  Table table("Pictures by class and part", columns);
  const auto in_class = [&](std::size_t k) {
    std::int64_t sum = 0;
    for (const ReportPart& p : r.parts) sum += k < p.counts.size() ? p.counts[k] : 0;
    return sum;
  };
  for (std::size_t k = 0; k < std::min(classes, kMostClasses); ++k) {
    std::vector<std::string> row{class_name(r, k)};
    for (const ReportPart& p : r.parts) row.push_back(grouped(k < p.counts.size() ? p.counts[k] : 0));
    const double share = total > 0 ? static_cast<double>(in_class(k)) / static_cast<double>(total) : 0;
    row.push_back(percent(share));
    row.push_back(share_bar(share));
    table.row(row);
  }
  std::vector<std::string> sum{"all"};
  for (const ReportPart& p : r.parts) {
    std::int64_t n = 0;
    for (const std::int64_t c : p.counts) n += c;
    sum.push_back(grouped(n));
  }
  sum.emplace_back("");
  sum.emplace_back("");
  table.row(sum, "sum");
  std::string out = table.finish();
  if (classes > kMostClasses) out += str("<p>The first ", kMostClasses, " of ", classes, " classes.</p>\n");
  if (r.audit) out += findings(*r.audit, r.names);
  return out;
}

std::string training(const Report& r) {
  std::string out;
  if (r.epochs.size() > 1) {
    std::int64_t best = 0;
    bool validated = false;
    double seconds = 0;
    for (const EpochRecord& e : r.epochs) {
      if (e.best) best = e.epoch;
      validated = validated || std::isfinite(e.val_loss);
      seconds += e.seconds;
    }
    LinePlot loss{.title = "Loss",
                  .x_label = "epoch",
                  .y_label = "cross-entropy",
                  .whole_x = true,
                  .from_zero = true,
                  .width = 500,
                  .height = 330};
    LinePlot accuracy{.title = "Right answers",
                      .x_label = "epoch",
                      .y_label = "accuracy",
                      .percent = true,
                      .whole_x = true,
                      .width = 500,
                      .height = 330};
    loss.series.push_back(series(r, "training", &EpochRecord::train_loss));
    accuracy.series.push_back(series(r, "training", &EpochRecord::train_accuracy));
    if (validated) {
      loss.series.push_back(series(r, "validation", &EpochRecord::val_loss));
      accuracy.series.push_back(series(r, "validation", &EpochRecord::val_accuracy));
      loss.mark_x = accuracy.mark_x = static_cast<double>(best);
      loss.mark_label = accuracy.mark_label = best > 0 ? "lowest loss" : "";
    }
    const EpochRecord& last = r.epochs.back();
    const std::string words = str("At the end, training loss ", fixed(last.train_loss),
                                  validated ? str(", validation loss ", fixed(last.val_loss)) : "", "; it took ",
                                  r.epochs.size(), " epochs and ", fixed(seconds / 60, 1), " minutes.");
    out += str("<div class=\"plots\">", figure(line_plot_svg(loss), str("Loss by epoch. ", words)),
               figure(line_plot_svg(accuracy), "Share of right answers by epoch, in training and validation"),
               "</div>\n<p>", words,
               " Training pictures were augmented and labels smoothed where the recipe says so: that is why training "
               "may look worse "
               "than validation.</p>\n");
  }
  if (!r.recipe.empty()) {
    out += "<h3>Recipe</h3>\n<dl class=\"recipe\">\n";
    for (const auto& [what, how] : r.recipe) out += str("<dt>", escape(what), "</dt><dd>", name(how), "</dd>\n");
    out += "</dl>\n";
  }
  return out;
}

std::string cost(const Report& r) {
  const ReportCost& c = r.cost;
  if (c.parameters == 0) return {};
  std::string out = "<dl class=\"recipe\">\n";
  const auto line = [&](const char* what, const std::string& how) {
    out += str("<dt>", what, "</dt><dd>", how, "</dd>\n");
  };
  if (c.median_ms > 0) {
    line("one answer",
         str(fixed(c.median_ms, 2), "\u00a0ms (median), ", fixed(c.p90_ms, 2), "\u00a0ms (nine of ten are faster)"));
    if (c.decode_ms > 0) line("reading one picture", str(fixed(c.decode_ms, 2), "\u00a0ms (median), with resizing"));
    line("measured on", str(c.processor.empty() ? "this machine" : name(c.processor), ", ", count(c.threads, "thread"),
                            ", one picture at a time, in f32"));
  }
  line("parameters", grouped(c.parameters));
  line("multiply-adds", str(grouped(c.multiply_adds), " a picture"));
  if (c.file_bytes > 0) line("model file", str(grouped(c.file_bytes), " bytes"));
  return out + "</dl>\n";
}

}  // namespace fovea::insight::html
