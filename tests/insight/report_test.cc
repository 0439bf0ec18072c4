// The report's page: what it says, that it says nothing that came as markup, and that its numbers are the metrics'.
#include "insight/report/report.h"

#include <algorithm>
#include <cmath>
#include <regex>
#include <set>

#include "catch.h"
#include "core/error.h"
#include "core/rng.h"
#include "insight/report/html_internal.h"
#include "models/model.h"

using namespace fovea;
using namespace fovea::insight;

namespace {

std::size_t count_of(const std::string& text, const std::string& part) {
  std::size_t n = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++n;
  return n;
}

/// Fails unless every tag is one that the page may have, is closed in order, and every attribute is one that pages may
/// have: markup from a file would break at least one of these.
void check_markup(const std::string& page) {
  static const std::set<std::string> kVoid{"meta", "link", "br", "img", "line", "rect", "circle", "path"};
  static const std::set<std::string> kTags{
      "html",   "head",       "meta", "link", "title", "style", "body",    "a",       "header", "p",  "h1",      "h2",
      "h3",     "div",        "nav",  "ol",   "ul",    "li",    "main",    "section", "dl",     "dt", "dd",      "span",
      "b",      "bdi",        "br",   "code", "small", "table", "caption", "thead",   "tbody",  "tr", "th",      "td",
      "figure", "figcaption", "img",  "svg",  "line",  "rect",  "circle",  "path",    "text",   "g",  "clipPath"};
  std::vector<std::string> open;
  std::size_t at = page.find('>') + 1;  // the doctype
  while ((at = page.find('<', at)) != std::string::npos) {
    std::size_t end = at + 1;
    bool quoted = false;
    for (; end < page.size() && (quoted || page[end] != '>'); ++end) {
      if (page[end] == '"') quoted = !quoted;
      REQUIRE((quoted || page[end] != '<'));
    }
    REQUIRE(end < page.size());
    const std::string tag = page.substr(at + 1, end - at - 1);
    at = end + 1;
    const bool closes = tag[0] == '/';
    const std::string name = tag.substr(closes, tag.find_first_of(" /\n", closes) - closes);
    INFO(tag);
    REQUIRE(kTags.contains(name));
    static const std::regex kEvent("(^|[ \"])on[a-z]+ *=");
    const std::string outside = std::regex_replace(tag, std::regex("\"[^\"]*\""), "\"\"");
    REQUIRE_FALSE(std::regex_search(outside, kEvent));
    if (closes) {
      REQUIRE_FALSE(open.empty());
      REQUIRE(open.back() == name);
      open.pop_back();
    } else if (!kVoid.contains(name)) {
      open.push_back(name);
    }
  }
  REQUIRE(open.empty());
}

/// Answers of n pictures of `classes` classes, about four of five right, as sure as they look.
Report some_report(int classes, int n, std::uint64_t seed = 1) {
  Report r;
  Rng rng(seed, "report test");
  r.probabilities = Tensor({n, classes});
  Tensor logits({n, classes});
  for (int i = 0; i < n; ++i) {
    r.labels.push_back(i % classes);
    for (int k = 0; k < classes; ++k)
      logits.mutable_data<float>()[i * classes + k] = static_cast<float>(rng.normal() + (k == i % classes ? 2 : 0));
  }
  r.probabilities = tempered_probabilities(logits, 1);
  ClassificationMetrics metrics(classes);
  metrics.add_probabilities(r.probabilities, Tensor::from(Shape{n}, r.labels));
  r.metrics = metrics.compute();
  for (int k = 0; k < classes; ++k) r.class_names.push_back("class" + std::to_string(k));
  r.judged = std::to_string(n) + " pictures";
  return r;
}

const std::string kHostile = "\"><script>alert(1)</script><img src=x onerror='alert(2)'>&lt;\x01\xff\u202e";

TensorDataset pictures_of(int each, int classes) {
  Tensor images(Shape{std::int64_t{each} * classes, 16, 16, 3}, DType::u8);
  std::vector<std::int64_t> labels;
  std::vector<std::string> names;
  Rng rng(3, "pictures");
  for (std::int64_t i = 0; i < images.dim(0); ++i) {
    labels.push_back(i % classes);
    for (int p = 0; p < 16 * 16 * 3; ++p)
      images.mutable_data<std::uint8_t>()[i * 768 + p] =
          static_cast<std::uint8_t>(rng.below(100) + (p % 3 == i % classes ? 120 : 0));
  }
  for (int k = 0; k < classes; ++k) names.push_back("kind" + std::to_string(k));
  return {images, labels, names};
}

}  // namespace

TEST_CASE("report: the confusion matrix and the classes of the page are the metrics'") {
  for (const int classes : {2, 5}) {
    const Report r = some_report(classes, 200);
    const std::string page = to_html(r);
    check_markup(page);
    const std::size_t begin = page.find("<table class=\"matrix"), end = page.find("</table>", begin);
    std::vector<std::int64_t> cells;
    const std::string table = page.substr(page.find("<tbody>", begin), end - page.find("<tbody>", begin));
    static const std::regex kCell("<td class=\"n[^>]*>([0-9]+)</td>");
    for (std::sregex_iterator it(table.begin(), table.end(), kCell), last; it != last; ++it)
      cells.push_back(std::stoll((*it)[1]));
    std::vector<std::int64_t> wanted;
    for (const auto& row : r.metrics.confusion) wanted.insert(wanted.end(), row.begin(), row.end());
    CHECK(cells == wanted);
    for (std::size_t k = 0; k < r.class_names.size(); ++k) {
      const std::int64_t found = r.metrics.confusion[k][k], n = r.metrics.classes[k].support;
      CHECK(page.find(html::stacked(html::percent(static_cast<double>(found) / static_cast<double>(n)),
                                    html::range(wilson_interval(found, n)))) != std::string::npos);
    }
    CHECK(page.find(html::percent(r.metrics.accuracy)) != std::string::npos);
  }
}

TEST_CASE("report: nothing that came from files is markup") {
  for (const int classes : {2, 3, 30}) {
    Report r = some_report(classes, 300);
    r.title = r.judged = r.judged_caveat = r.network = r.layer = r.date = r.temperature_source = kHostile;
    for (std::string& name : r.class_names) name += kHostile;
    for (const CardField& field : card_fields()) r.card.*field.value = kHostile;
    r.recipe = {{kHostile, kHostile}};
    r.parts = {{kHostile, std::vector<std::int64_t>(static_cast<std::size_t>(classes), 7)}};
    r.epochs = {{.epoch = 1, .train_loss = 1}, {.epoch = 2, .train_loss = NAN}};
    r.skipped = {kHostile};
    r.cost.parameters = 1;
    r.cost.median_ms = 1;
    r.cost.processor = kHostile;
    Audit audit;
    audit.findings = {{FindingKind::leak, true, kHostile, {}}};
    r.audit = audit;
    std::vector<std::string> values;
    for (std::size_t i = 0; i < r.labels.size(); ++i) values.push_back((i % 2 ? "odd" : "even") + kHostile);
    r.slices = audit_slices(r.probabilities, r.labels, {{kHostile, values, {}}});
    for (const auto kind :
         {ReportCase::Kind::confident_mistake, ReportCase::Kind::missed, ReportCase::Kind::confident_right}) {
      ReportCase c;
      c.kind = kind;
      c.name = c.group = c.strongest = kHostile;
      c.picture = c.overlay = {0xff, 0xd8, 0xff};
      r.cases.push_back(c);
    }
    const std::string page = to_html(r);
    check_markup(page);
    CHECK(count_of(page, "<script") == 0);
    CHECK(count_of(page, "<img ") == (classes == 2 ? 6u : 4u));
    CHECK(page.find("default-src 'none'") != std::string::npos);
    // Nothing is loaded from anywhere: the only address is the SVG name space's.
    std::string rest = page;
    for (const std::string known : {"http://www.w3.org/2000/svg", "http-equiv"}) {
      for (std::size_t at; (at = rest.find(known)) != std::string::npos;) rest.erase(at, known.size());
    }
    CHECK(rest.find("http") == std::string::npos);
    CHECK(rest.find("url(#") != std::string::npos);
    static const std::regex kSource("(src|href)=\"(?!#|data:)");
    CHECK_FALSE(std::regex_search(page, kSource));
  }
}

TEST_CASE("report: text is escaped byte by byte") {
  CHECK(html::escape("a<b>&\"'") == "a&lt;b&gt;&amp;&quot;&#39;");
  CHECK(html::escape(std::string("a\0b\n\x7f", 5)) == "a b  ");
  CHECK(html::escape("\u00e9\u20ac\U0001F600") == "\u00e9\u20ac\U0001F600");
  // Overlong, surrogate, cut off, beyond Unicode, C1 control.
  CHECK(html::escape("\xc0\xbc") == "\uFFFD\uFFFD");
  CHECK(html::escape("\xed\xa0\x80") == "\uFFFD\uFFFD\uFFFD");
  CHECK(html::escape("x\xe2\x82") == "x\uFFFD\uFFFD");
  CHECK(html::escape("\xf4\x90\x80\x80").find('\xf4') == std::string::npos);
  CHECK(html::escape("\xc2\x85") == " ");
  CHECK(html::data_uri({'M', 'a', 'n'}) == "data:image/jpeg;base64,TWFu");
  CHECK(html::data_uri({'M', 'a'}) == "data:image/jpeg;base64,TWE=");
  CHECK(html::data_uri({'M'}) == "data:image/jpeg;base64,TQ==");
  CHECK(html::grouped(1234567) == "1\u202f234\u202f567");
  CHECK(html::percent(NAN) == "–");
}

TEST_CASE("report: made of a model and pictures") {
  for (const int classes : {2, 3}) {
    const Model model = models::create("small_cnn", {.classes = classes, .image_size = 16});
    const auto data = std::make_shared<TensorDataset>(pictures_of(20, classes));
    ReportOptions o;
    o.resamples = 20;
    o.seconds = 0.01;
    o.mistakes = 3;
    const Report r = make_report(model, data, o);
    CHECK(r.metrics.n == 20 * classes);
    REQUIRE(!r.cases.empty());
    const bool two = classes == 2;
    double before = 1;
    std::set<std::string> names;
    for (const ReportCase& c : r.cases) {
      const bool right = c.kind == ReportCase::Kind::confident_right;
      CHECK((c.label == c.predicted) == right);
      if (c.kind == ReportCase::Kind::missed) CHECK((two && c.label == 1));
      if (c.kind == ReportCase::Kind::false_alarm) CHECK((two && c.label == 0));
      if (c.kind == ReportCase::Kind::confident_mistake) {
        CHECK_FALSE(two);
        CHECK(c.confidence <= before);
        before = c.confidence;
      }
      CHECK(names.insert(c.name).second);
      CHECK(c.picture.size() > 100);
      CHECK(c.overlay.size() > 100);
      CHECK(c.overlay != c.picture);
      CHECK(!c.strongest.empty());
    }
    CHECK(r.cost.median_ms > 0);
    CHECK(r.cost.multiply_adds > 1000);
    check_markup(to_html(r));

    o.pictures = o.names = false;
    const Report bare = make_report(model, data, o);
    CHECK(to_html(bare).find("<img") == std::string::npos);
    for (const ReportCase& c : bare.cases) CHECK(c.name.rfind("picture ", 0) == 0);
    o.positive = classes;
    CHECK_THROWS_AS(make_report(model, data, o), Error);
  }
  CHECK_THROWS_AS(to_html(Report()), Error);
}

TEST_CASE("report: a model card takes its fields and no others") {
  const ModelCard card = ModelCard::from_json(R"({"licence": "CC0", "limits": "a\nb"})");
  CHECK(card.licence == "CC0");
  CHECK(ModelCard::from_json(card.to_json()).limits == "a\nb");
  Report r = some_report(2, 60);
  CHECK(count_of(to_html(r), "not stated") == card_fields().size() - 1);
  r.card = card;
  CHECK(count_of(to_html(r), "not stated") == card_fields().size() - 3);
  CHECK(to_html(r).find("<p>a</p><p>b</p>") != std::string::npos);
  CHECK_THROWS_AS(ModelCard::from_json(R"({"license": "CC0"})"), Error);
  CHECK_THROWS_AS(ModelCard::from_json(R"({"licence": 5})"), Error);
  CHECK_THROWS_AS(ModelCard::from_json("[]"), Error);
  CHECK_THROWS_AS(ModelCard::from_json("{"), Error);
}
