// The page as a whole: what stands at its head, what one should know first, and the order of the rest.
#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "core/version.h"
#include "insight/report/html_internal.h"
#include "insight/report/page_internal.h"

namespace fovea::insight {
namespace html {

bool helps(const Report& r) { return r.calibrated && r.calibrated->log_loss < r.metrics.log_loss; }

std::string plain_name(const Report& r, std::size_t k) {
  return k < r.class_names.size() ? r.class_names[k] : str("class ", k);
}
std::string class_name(const Report& r, std::size_t k) {
  return k < r.class_names.size() ? name(r.class_names[k]) : plain_name(r, k);
}

namespace {

std::string heading(const Report& r) {
  return !r.card.title.empty() ? r.card.title : !r.title.empty() ? r.title : "Report";
}

/// "<b>a</b>, <b>b</b> and <b>c</b>"; long lists are cut.
std::string list_of_classes(const Report& r) {
  std::string out;
  const std::size_t n = r.class_names.size(), shown = n <= 8 ? n : 6;
  for (std::size_t k = 0; k < shown; ++k) {
    out += str(k == 0 ? "" : k + 1 == n ? " and " : ", ", "<b>", class_name(r, k), "</b>");
  }
  return n > shown ? str(out, " and ", n - shown, " more") : out;
}

std::string tile(const std::string& label, const std::string& value, const std::string& note) {
  return str("<div class=\"tile\"><dt>", label, "</dt><dd><span class=\"big\">", value, "</span>",
             note.empty() ? "" : str("<span class=\"note\">", note, "</span>"), "</dd></div>\n");
}

std::string interval_note(const Interval& i, bool share) {
  return str("95\u00a0% interval ", share ? range(i) : range_fixed(i));
}

std::string tiles(const Report& r) {
  const MetricValues& m = r.metrics;
  std::string out = "<dl class=\"tiles\">\n";
  out += tile("Right answers", percent(m.accuracy), interval_note(m.accuracy_interval, true));
  if (r.class_names.size() > 2 || std::abs(m.balanced_accuracy - m.accuracy) > 0.005) {
    out += tile("Mean recall of the classes", percent(m.balanced_accuracy),
                r.intervals ? interval_note(r.intervals->balanced_accuracy, true) : "");
  }
  if (std::isfinite(m.auc))
    out += tile("Area under ROC", fixed(m.auc), r.intervals ? interval_note(r.intervals->auc, false) : "");
  out += tile("Calibration error", percent(m.ece),
              helps(r)      ? str("after temperature scaling ", percent(r.calibrated->ece))
              : r.intervals ? interval_note(r.intervals->ece, true)
                            : "");
  if (r.cost.median_ms > 0) {
    out += tile("One picture takes", str(fixed(r.cost.median_ms, r.cost.median_ms < 10 ? 1 : 0), "\u00a0ms"),
                str("on ", count(r.cost.threads, "thread")));
  }
  const double megabytes = static_cast<double>(r.cost.file_bytes) / 1e6;
  if (r.cost.file_bytes > 0) {
    out += tile("Size", str(fixed(megabytes, megabytes < 10 ? 1 : 0), "\u00a0MB"),
                str(grouped(r.cost.parameters), " parameters"));
  }
  return out + "</dl>\n";
}

struct Note {
  enum Kind { caution, fine, plain } kind;
  std::string text;
};

void note_classes(const Report& r, std::vector<Note>& notes) {
  const std::vector<ClassScore>& all = r.metrics.classes;
  const auto found = [&](std::size_t k) { return r.metrics.confusion[k][k]; };
  if (all.size() == 2) {
    const auto p = static_cast<std::size_t>(r.positive), q = 1 - p;
    if (all[p].support == 0 || all[q].support == 0) return;
    notes.push_back({Note::plain, str("Of ", grouped(all[p].support), " pictures of ", class_name(r, p), " it finds ",
                                      percent(all[p].recall), " (", range(wilson_interval(found(p), all[p].support)),
                                      "); of ", grouped(all[q].support), " of ", class_name(r, q), ", ",
                                      percent(1 - all[q].recall), " are taken for ", class_name(r, p), ".")});
    return;
  }
  std::size_t worst = all.size();
  for (std::size_t k = 0; k < all.size(); ++k) {
    if (all[k].support > 0 && (worst == all.size() || all[k].recall < all[worst].recall)) worst = k;
  }
  if (worst == all.size()) return;
  notes.push_back({Note::plain, str("The class it finds least often is ", class_name(r, worst), ": ", found(worst),
                                    " of ", grouped(all[worst].support), " (",
                                    range(wilson_interval(found(worst), all[worst].support)), ").")});
  std::int64_t most = 0;
  std::size_t from = 0, to = 0;
  for (std::size_t i = 0; i < all.size(); ++i) {
    for (std::size_t j = 0; j < all.size(); ++j) {
      if (i == j || r.metrics.confusion[i][j] <= most) continue;
      most = r.metrics.confusion[i][j];
      from = i;
      to = j;
    }
  }
  if (most > 1)
    notes.push_back({Note::plain, str("Most often confused: ", class_name(r, from), " taken for ", class_name(r, to),
                                      ", ", grouped(most), " times.")});
}

void note_calibration(const Report& r, std::vector<Note>& notes) {
  double confidence = 0;
  for (const ReliabilityBin& b : r.metrics.reliability)
    confidence += b.confidence * static_cast<double>(b.count) / static_cast<double>(r.metrics.n);
  const double gap = confidence - r.metrics.accuracy;
  if (std::abs(gap) < 0.03) return;
  notes.push_back({gap > 0 ? Note::caution : Note::plain,
                   str(gap > 0 ? "It is too sure of itself: " : "It is less sure of itself than it could be: ",
                       percent(confidence), " on average, and right in ", percent(r.metrics.accuracy), ".",
                       helps(r) ? str(" A temperature of ", fixed(r.temperature, 2),
                                      " brings its calibration error to ", percent(r.calibrated->ece), ".")
                                : std::string())});
}

void note_slices(const Report& r, std::vector<Note>& notes) {
  std::string worse;
  int slices = 0;
  for (const SliceDetail& slice : r.slices.slices) {
    const std::string words = verdict(r, slice);
    if (words.empty() || ++slices > 3) continue;
    worse += str(worse.empty() ? "" : ". ", escape(slice.attribute), " ", name(slice.name), ": ", words);
  }
  if (slices > 3) worse += str(". ", slices - 3, slices == 4 ? " slice more" : " slices more");
  if (!worse.empty()) {
    notes.push_back({Note::caution, str("Not all are served alike, by more than chance. ", worse,
                                        ". <a href=\"#slices\">Slices</a>")});
  } else if (!r.slices.slices.empty()) {
    notes.push_back(
        {Note::fine, str("None of ", r.slices.slices.size(),
                         " groups and slices of the pictures is served worse than the rest by more than chance. "
                         "That is no proof that all are served alike: see how many pictures each has.")});
  }
}

std::vector<Note> notes_of(const Report& r) {
  std::vector<Note> notes;
  if (!r.judged_caveat.empty()) notes.push_back({Note::caution, escape(r.judged_caveat)});
  const Interval& i = r.metrics.accuracy_interval;
  if (i.high - i.low > 0.1) {
    notes.push_back({Note::caution,
                     str("Few pictures: the true share of right answers may well be anywhere from ", range(i), ".")});
  }
  note_classes(r, notes);
  note_calibration(r, notes);
  note_slices(r, notes);
  if (r.audit) {
    const auto serious =
        std::count_if(r.audit->findings.begin(), r.audit->findings.end(), [](const Finding& f) { return f.serious; });
    if (serious > 0) {
      notes.push_back({Note::caution,
                       str("The pictures have ", count(serious, "serious problem"), ". <a href=\"#data\">Data</a>")});
    } else {
      notes.push_back(
          {Note::fine, "No damaged pictures, copies across parts or shortcuts were found among the pictures."});
    }
  }
  if (!r.skipped.empty())
    notes.push_back({Note::caution, str(count(static_cast<std::int64_t>(r.skipped.size()), "picture"),
                                        " could not be read and are not counted.")});
  std::string unset;
  for (const CardField& field : card_fields()) {
    const std::string_view key = field.key;
    if ((key == "intended_use" || key == "limits" || key == "data" || key == "consent" || key == "licence") &&
        (r.card.*field.value).empty()) {
      std::string label = field.label;
      label[0] = static_cast<char>(label[0] | 0x20);
      unset += str(unset.empty() ? "" : ", ", label);
    }
  }
  if (!unset.empty())
    notes.push_back({Note::caution, str("Nobody has stated: ", unset, ". <a href=\"#card\">Model card</a>")});
  const bool pictures =
      std::any_of(r.cases.begin(), r.cases.end(), [](const ReportCase& c) { return !c.picture.empty(); });
  if (pictures)
    notes.push_back(
        {Note::plain, "This page holds pictures from the data. Pass it on only to those who may see them."});
  return notes;
}

}  // namespace

std::string summary(const Report& r) {
  std::string out = tiles(r);
  out += "<h3>What to know first</h3>\n<ul class=\"notes\">\n";
  for (const Note& n : notes_of(r)) {
    const char* type = n.kind == Note::caution ? "caution" : n.kind == Note::fine ? "fine" : "plain";
    const char* mark = n.kind == Note::caution ? "!" : n.kind == Note::fine ? "✓" : "·";
    const char* word = n.kind == Note::caution ? "Caution: " : n.kind == Note::fine ? "Good: " : "";
    out += str("<li class=\"", type, "\"><span class=\"mark\" aria-hidden=\"true\">", mark,
               "</span><span><span class=\"hidden\">", word, "</span>", n.text, "</span></li>\n");
  }
  return out + "</ul>\n";
}

}  // namespace html

std::string to_html(const Report& r) {
  if (r.metrics.classes.empty() || r.labels.empty() || r.probabilities.rank() != 2)
    throw Error(ErrorKind::usage, "report", "has no results to show", "fill it by make_report()");
  struct Section {
    const char* id;
    const char* title;
    std::string body;
  };
  const Section sections[] = {
      {"summary", "In short", html::summary(r)},
      {"card", "Model card", html::card(r)},
      {"data", "Data", html::data(r)},
      {"training", "Training", html::training(r)},
      {"confusion", "Confusion", html::confusion(r)},
      {"classes", "Classes", html::classes(r)},
      {"decisions", "Decisions", html::decisions(r)},
      {"calibration", "Calibration", html::calibration(r)},
      {"slices", "Slices", html::slices(r)},
      {"mistakes", "Mistakes", html::cases(r)},
      {"cost", "Speed and size", html::cost(r)},
      {"terms", "How to read this", html::glossary(r)},
  };
  std::string nav, body;
  for (const Section& s : sections) {
    if (s.body.empty()) continue;
    nav += str("<li><a href=\"#", s.id, "\">", s.title, "</a></li>\n");
    body += str("<section id=\"", s.id, "\" aria-labelledby=\"h-", s.id, "\"><h2 id=\"h-", s.id, "\">", s.title,
                "</h2>\n", s.body, "</section>\n");
  }
  const std::string title = html::escape(html::heading(r));
  return str(
      "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      // Even if something hostile got past the escaping, it could neither run nor call home.
      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; style-src "
      "'unsafe-inline'; base-uri 'none'; form-action 'none'\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
      "<meta name=\"color-scheme\" content=\"light dark\">\n<meta name=\"referrer\" content=\"no-referrer\">\n"
      "<link rel=\"icon\" href=\"data:,\">\n<title>",
      title, "</title>\n<style>\n", html::style(),
      "</style>\n</head>\n<body>\n<a class=\"skip\" href=\"#main\">Skip to the "
      "results</a>\n<header>\n<p class=\"kind\">Classification report</p>\n<h1>",
      title, "</h1>\n<p class=\"lede\">Tells ", r.class_names.size() == 2 ? "" : "apart ", html::list_of_classes(r),
      r.class_names.size() == 2 ? " apart" : "", ". Of ", html::escape(r.judged), ", ",
      html::percent(r.metrics.accuracy), " get the right answer.</p>\n<p class=\"meta\">",
      r.network.empty() ? "" : html::escape(r.network), r.network.empty() || r.date.empty() ? "" : " · ",
      html::escape(r.date), r.network.empty() && r.date.empty() ? "" : " · ", "fovea\u00a0", kVersion,
      "</p>\n</header>\n<div class=\"frame\">\n<nav aria-label=\"Sections\"><ol>\n", nav,
      "</ol></nav>\n<main id=\"main\" tabindex=\"-1\">\n", body, "</main>\n</div>\n</body>\n</html>\n");
}

}  // namespace fovea::insight
