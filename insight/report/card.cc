#include "insight/report/card.h"

#include <nlohmann/json.hpp>

#include "core/error.h"

namespace fovea::insight {

const std::vector<CardField>& card_fields() {
  static const std::vector<CardField> fields = {
      {"title", "Title", &ModelCard::title},
      {"intended_use", "Intended use", &ModelCard::intended_use},
      {"not_for", "Not to be used for", &ModelCard::not_for},
      {"limits", "Known limits", &ModelCard::limits},
      {"data", "Data", &ModelCard::data},
      {"consent", "Consent", &ModelCard::consent},
      {"privacy", "Privacy", &ModelCard::privacy},
      {"licence", "Licence", &ModelCard::licence},
      {"authors", "Authors", &ModelCard::authors},
      {"contact", "Contact", &ModelCard::contact},
      {"version", "Version", &ModelCard::version},
  };
  return fields;
}

std::string ModelCard::to_json() const {
  nlohmann::ordered_json json;
  for (const CardField& field : card_fields()) json[field.key] = this->*field.value;
  return json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

ModelCard ModelCard::from_json(std::string_view text, const std::string& where) {
  const nlohmann::json json = nlohmann::json::parse(text, nullptr, false);
  if (!json.is_object())
    throw Error(ErrorKind::format, where, "expected a JSON object with the fields of a model card");
  std::string known;
  for (const CardField& field : card_fields()) known += str(known.empty() ? "" : ", ", field.key);
  ModelCard card;
  for (const auto& [key, value] : json.items()) {
    const CardField* found = nullptr;
    for (const CardField& field : card_fields()) {
      if (key == field.key) found = &field;
    }
    if (!found) throw Error(ErrorKind::format, where, str("has a field '", key, "'"), str("the fields are: ", known));
    if (!value.is_string()) throw Error(ErrorKind::format, where, str("'", key, "' must be text in quotes"));
    card.*(found->value) = value.get<std::string>();
  }
  return card;
}

}  // namespace fovea::insight
