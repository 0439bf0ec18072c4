// A model card: what a network is for and what not, in the words of those who answer for it (Mitchell et al. 2019).
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/export.h"

namespace fovea::insight {

/// Empty: unset, which reports say.
struct FOVEA_API ModelCard {
  std::string title;         ///< heading of the report
  std::string intended_use;  ///< who may use it for what
  std::string not_for;       ///< uses that are ruled out
  std::string limits;        ///< what is known to go wrong
  std::string data;          ///< where the pictures come from, how labels came about
  std::string consent;       ///< on what ground they are used
  std::string privacy;       ///< what was done to protect the people in them
  std::string licence;
  std::string authors;
  std::string contact;
  std::string version;

  std::string to_json() const;
  /// An object with some of these fields as text; others are refused, so that none is lost to a typing error.
  /// Error{format}.
  static ModelCard from_json(std::string_view text, const std::string& where = "card");
};

/// The fields in the order in which reports show them.
struct CardField {
  const char* key;    ///< in JSON
  const char* label;  ///< for people
  std::string ModelCard::*value;
};
FOVEA_API const std::vector<CardField>& card_fields();

}  // namespace fovea::insight
