#include "insight/protect/consent.h"

#include <algorithm>
#include <charconv>
#include <ctime>
#include <map>

#include "augment/csv_dataset.h"
#include "core/error.h"
#include "core/io/file.h"
#include "insight/protect/csv_internal.h"

namespace fovea::insight {
namespace {

std::vector<CsvRecord> read_csv(const std::string& path, const std::vector<std::string>& columns) {
  const std::vector<std::uint8_t> bytes = read_file(path, std::size_t{1} << 28);
  std::vector<CsvRecord> records = parse_csv({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, path);
  if (records.empty() || records[0].fields != columns) {
    std::string expected;
    for (const std::string& c : columns) expected += (expected.empty() ? "" : ",") + c;
    throw Error(ErrorKind::format, path, str("expected a first line '", expected, "'"));
  }
  for (const CsvRecord& r : records) {
    if (r.fields.size() != columns.size())
      throw Error(ErrorKind::format, str(path, ":", r.line),
                  str("has ", r.fields.size(), " fields, expected ", columns.size()));
  }
  records.erase(records.begin());
  return records;
}

bool is_day(const std::string& text) {
  if (text.size() != 10 || text[4] != '-' || text[7] != '-') return false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (i != 4 && i != 7 && (text[i] < '0' || text[i] > '9')) return false;
  }
  const int month = std::stoi(text.substr(5, 2)), day = std::stoi(text.substr(8, 2));
  return month >= 1 && month <= 12 && day >= 1 && day <= 31;
}

std::vector<std::string> words(const std::string& text) {
  std::vector<std::string> out;
  for (std::size_t at = 0; at <= text.size();) {
    const std::size_t end = std::min(text.find(';', at), text.size());
    std::string word = text.substr(at, end - at);
    word.erase(0, word.find_first_not_of(' '));
    word.erase(word.find_last_not_of(' ') + 1);
    if (!word.empty()) out.push_back(word);
    at = end + 1;
  }
  return out;
}

}  // namespace

ConsentLedger ConsentLedger::read(const std::string& path) {
  std::vector<Consent> entries;
  for (const CsvRecord& r : read_csv(path, {"subject", "consent", "purpose", "expiry"})) {
    const std::string where = str(path, ":", r.line);
    Consent c{r.fields[0], r.fields[1] == "yes", words(r.fields[2]), r.fields[3]};
    if (c.subject.empty()) throw Error(ErrorKind::format, where, "the subject is empty");
    if (!c.given && r.fields[1] != "no")
      throw Error(ErrorKind::format, where, str("consent is '", r.fields[1], "', expected yes or no"));
    if (c.purposes.empty()) throw Error(ErrorKind::format, where, "the purpose is empty", "write * for any");
    if (!c.expiry.empty() && !is_day(c.expiry))
      throw Error(ErrorKind::format, where, str("'", c.expiry, "' is no day"), "expected YYYY-MM-DD or nothing");
    entries.push_back(std::move(c));
  }
  return ConsentLedger(std::move(entries));
}

std::string ConsentLedger::objection(const std::string& subject, const std::string& purpose,
                                     const std::string& day) const {
  if (subject.empty()) return "no subject is known";
  std::string expired, others;
  bool known = false, given = false;
  for (const Consent& c : entries_) {
    if (c.subject != subject) continue;
    known = true;
    const bool meant = std::any_of(c.purposes.begin(), c.purposes.end(),
                                   [&](const std::string& p) { return p == "*" || p == purpose; });
    if (!meant) {
      others = "consent is for other purposes";
    } else if (!c.given) {
      return "consent was refused or withdrawn";
    } else if (!c.expiry.empty() && c.expiry < day) {
      expired = std::max(expired, "consent expired on " + c.expiry);
    } else {
      given = true;
    }
  }
  if (given) return {};
  if (!known) return "not in the ledger";
  return expired.empty() ? others : expired;
}

std::string today() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  ::localtime_r(&now, &parts);
  char text[16];
  return {text, std::strftime(text, sizeof text, "%Y-%m-%d", &parts)};
}

std::vector<SubjectUse> subjects_of(const std::vector<std::pair<std::string, DatasetPtr>>& parts) {
  std::map<std::pair<std::string, std::string>, std::int64_t> counts;
  for (const auto& [part, data] : parts) {
    if (!data) continue;
    for (std::int64_t i = 0; i < data->size(); ++i) ++counts[{data->group(i), part}];
  }
  std::vector<SubjectUse> out;
  out.reserve(counts.size());
  for (const auto& [key, count] : counts) out.push_back({key.first, key.second, count});
  return out;
}

void require_consent(const std::vector<SubjectUse>& uses, const ConsentLedger& ledger, const std::string& purpose,
                     const std::string& day) {
  if (purpose.empty()) throw Error(ErrorKind::usage, "consent", "no purpose was named");
  std::map<std::string, std::int64_t> pictures;
  for (const SubjectUse& u : uses) pictures[u.subject] += u.pictures;
  constexpr std::size_t kShown = 20;
  std::size_t subjects = 0;
  std::int64_t count = 0;
  std::string text;
  for (const auto& [subject, n] : pictures) {
    const std::string why = ledger.objection(subject, purpose, day);
    if (why.empty()) continue;
    count += n;
    if (subjects++ < kShown)
      text += str("\n  ", subject.empty() ? "pictures without a subject" : subject, ": ", why, ", ", n,
                  n == 1 ? " picture" : " pictures");
  }
  if (subjects == 0) return;
  if (subjects > kShown) text += str("\n  and ", subjects - kShown, " more");
  throw Error(ErrorKind::usage, "consent",
              str(count, count == 1 ? " picture is" : " pictures are", " not covered for the purpose '", purpose,
                  "' on ", day, ":", text),
              pictures.size() == 1 && pictures.contains("")
                  ? "subjects come from the group column of a manifest, or from file names by --group-prefix"
                  : "leave these pictures out, or ask");
}

void write_subjects(const std::string& path, const std::vector<SubjectUse>& uses) {
  std::string text = "subject,part,pictures\n";
  for (const SubjectUse& u : uses) text += str(csv_field(u.subject), ",", csv_field(u.part), ",", u.pictures, "\n");
  write_file(path, text);
}

std::vector<SubjectUse> read_subjects(const std::string& path) {
  std::vector<SubjectUse> out;
  for (const CsvRecord& r : read_csv(path, {"subject", "part", "pictures"})) {
    SubjectUse u{r.fields[0], r.fields[1], 0};
    const std::string& n = r.fields[2];
    const auto [end, error] = std::from_chars(n.data(), n.data() + n.size(), u.pictures);
    if (error != std::errc() || end != n.data() + n.size())
      throw Error(ErrorKind::format, str(path, ":", r.line), str("'", n, "' is no number"));
    out.push_back(std::move(u));
  }
  return out;
}

}  // namespace fovea::insight
