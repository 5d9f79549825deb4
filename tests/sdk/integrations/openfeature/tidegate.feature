Feature: A provider that evaluates in memory

  # The steps are those of OpenFeature's specification where it has them. The flags, the scenarios
  # and the steps about releases, kills and lost connections are Tidegate's own.

  Background:
    Given a stable provider

  Rule: The application gets what the flag serves

    Scenario Outline: A flag without rules
      Given a <type>-flag with key "<key>" and a default value "<default>"
      When the flag was evaluated with details
      Then the resolved details value should be "<value>"
      And the flag key should be "<key>"
      And the variant should be "<variant>"
      And the reason should be "STATIC"
      And the error-code should be ""

      Examples:
        | type    | key       | default | value                              | variant |
        | Boolean | checkout  | false   | true                               | on      |
        | String  | banner    | Hi      | Happy holidays                     | festive |
        | Integer | page-size | 10      | 50                                 | many    |
        | Float   | discount  | 0.5     | 0.25                               | quarter |
        | Float   | page-size | 0.5     | 50.0                               | many    |
        | Object  | limits    | {}      | {\"rate\": 0.5, \"burst\": [1, 2]} | low     |

    Scenario: What a flag's author wrote is metadata
      Given a Boolean-flag with key "metadata-flag" and a default value "true"
      When the flag was evaluated with details
      Then the resolved metadata should contain
        | key     | metadata_type | value |
        | string  | String        | 1.0.2 |
        | integer | Integer       | 2     |
        | float   | Float         | 0.1   |
        | boolean | Boolean       | true  |

    Scenario Outline: An asynchronous evaluation never waits
      Given a <type>-flag with key "<key>" and a default value "<default>"
      When the flag was evaluated with details asynchronously
      Then the evaluation should complete without blocking
      And the resolved details value should be "<value>"
      And the result should be equivalent to synchronous evaluation

      Examples:
        | type    | key       | default | value                              |
        | Boolean | checkout  | false   | true                               |
        | String  | banner    | Hi      | Happy holidays                     |
        | Integer | page-size | 10      | 50                                 |
        | Float   | discount  | 0.5     | 0.25                               |
        | Object  | limits    | {}      | {\"rate\": 0.5, \"burst\": [1, 2]} |

    Scenario Outline: A matching rule with an empty value
      Given a <type>-flag with key "<key>-by-plan" and a default value "<default>"
      And a context containing a key "plan", with type "String" and with value "basic"
      When the flag was evaluated with details
      Then the resolved details value should be "<nothing>"
      And the variant should be "nothing"
      And the reason should be "TARGETING_MATCH"
      And the resolved metadata should contain
        | key    | metadata_type | value |
        | ruleId | String        | rule  |

      Examples:
        | type    | key       | default      | nothing |
        | Boolean | checkout  | true         | false   |
        | String  | banner    | Hi           |         |
        | Integer | page-size | 10           | 0       |
        | Float   | discount  | 0.5          | 0.0     |
        | Object  | limits    | {\"rate\":1} | {}      |

    Scenario Outline: A rule that does not match
      Given a String-flag with key "banner-by-plan" and a default value "Hi"
      And a context containing <plan>
      When the flag was evaluated with details
      Then the resolved details value should be "Happy holidays"
      And the reason should be "DEFAULT"

      Examples:
        | plan                                                    |
        | a key "plan", with type "String" and with value "gold"  |
        | a key "plan", with type "Integer" and with value "1"    |
        | a key "plan", with type "Boolean" and with value "true" |
        | a key "plan" with null value                            |
        | a targeting key with value "basic"                      |

    Scenario Outline: A disabled flag whose off variant has no value
      Given a <type>-flag with key "<key>-retired" and a default value "<default>"
      When the flag was evaluated with details
      Then the resolved details value should be "<default>"
      And the variant should be "no-value"
      And the reason should be "DISABLED"
      And the error-code should be ""

      Examples:
        | type    | key       | default      |
        | Boolean | checkout  | false        |
        | String  | banner    | Hi           |
        | Integer | page-size | 10           |
        | Float   | discount  | 0.5          |
        | Object  | limits    | {\"rate\":1} |

    Scenario: Changing the details does not change the flag
      Given an Object-flag with key "limits" and a default value "{}"
      And an evaluation context with modifiable data
      When the flag was evaluated with details
      Then the original evaluation context should remain unmodified
      And the evaluation details should be immutable

    Scenario: The steps of the first edition work, too
      When a boolean flag with key "checkout" is evaluated with default value "false"
      Then the resolved boolean value should be "true"
      When an integer flag with key "page-size" is evaluated with details and default value 10
      Then the resolved integer details value should be 50, the variant should be "many", and the reason should be "STATIC"
      When an object flag with key "limits" is evaluated with details and a null default value
      Then the variant should be "low", and the reason should be "STATIC"
      When context contains keys "plan", "name", "age", "member" with values "basic", "Zoë", 7, "true"
      And a flag with key "banner-by-plan" is evaluated with default value "Hi"
      Then the resolved string response should be ""
      And the resolved flag value is "Happy holidays" when the context is empty
      When a non-existent string flag with key "marquee" is evaluated with details and a default value "Hi"
      Then the default string value should be returned
      And the reason should indicate an error and the error code should indicate a missing flag with "FLAG_NOT_FOUND"
      When a string flag with key "banner" is evaluated as an integer, with details and a default value 7
      Then the default integer value should be returned
      And the reason should indicate an error and the error code should indicate a type mismatch with "TYPE_MISMATCH"

  Rule: On an error the application gets its default and an error code

    Scenario Outline: An evaluation that fails
      Given a <type>-flag with key "<key>" and a default value "<default>"
      When the flag was evaluated with details
      Then the resolved details value should be "<default>"
      And the reason should be "ERROR"
      And the error-code should be "<code>"
      And the error message should contain "<message>"

      Examples: Unknown flag
        | type    | key     | default      | code           | message                |
        | Boolean | marquee | true         | FLAG_NOT_FOUND | flag marquee not found |
        | String  | marquee | Hi           | FLAG_NOT_FOUND | flag marquee not found |
        | Integer | marquee | 10           | FLAG_NOT_FOUND | flag marquee not found |
        | Float   | marquee | 0.5          | FLAG_NOT_FOUND | flag marquee not found |
        | Object  | marquee | {\"rate\":1} | FLAG_NOT_FOUND | flag marquee not found |

      Examples: Wrong type
        | type    | key      | default | code          | message      |
        | Boolean | banner   | true    | TYPE_MISMATCH | banner       |
        | String  | limits   | Hi      | TYPE_MISMATCH | limits       |
        | Integer | checkout | 10      | TYPE_MISMATCH | checkout     |
        | Integer | discount | 10      | TYPE_MISMATCH | whole number |
        | Float   | banner   | 0.5     | TYPE_MISMATCH | banner       |
        | Object  | checkout | {}      | TYPE_MISMATCH | checkout     |

      Examples: No targeting key
        | type    | key    | default | code                  | message   |
        | Boolean | raffle | true    | TARGETING_KEY_MISSING | targeting |

    Scenario Outline: A provider without flags
      Given a <state> provider
      And a <type>-flag with key "<key>" and a default value "<default>"
      When the flag was evaluated with details
      Then the provider status should be "<status>"
      And the resolved details value should be "<default>"
      And the reason should be "ERROR"
      And the error-code should be "<code>"

      Examples:
        | state     | status    | code               | type    | key       | default |
        | not ready | NOT_READY | PROVIDER_NOT_READY | Boolean | checkout  | false   |
        | error     | ERROR     | PROVIDER_NOT_READY | String  | banner    | Hi      |
        | fatal     | FATAL     | PROVIDER_FATAL     | Integer | page-size | 10      |

  Rule: Without the server, the last flags are used

    Scenario Outline: The provider keeps its flags
      Given a String-flag with key "banner" and a default value "Hi"
      When <trouble>
      Then the provider status should become "<status>"
      When the flag was evaluated with details
      Then the resolved details value should be "Happy holidays"
      And the reason should be "STATIC"

      Examples:
        | trouble                      | status |
        | the server goes away         | STALE  |
        | the server refuses the token | ERROR  |

    Scenario: A provider is ready again
      When the server goes away
      Then the provider status should become "STALE"
      When the server comes back
      Then the provider status should become "READY"

    Scenario: A start without the server, with cached flags
      Given a provider that starts from a file while the server is away
      And a String-flag with key "banner" and a default value "Hi"
      When the flag was evaluated with details
      Then the resolved details value should be "Happy holidays"
      And the variant should be "festive"
      And the reason should be "STALE"

  Rule: OpenFeature's hooks and events work

    Scenario: Hooks get the details
      Given a client with added hook
      And a Float-flag with key "discount" and a default value "0.5"
      When the flag was evaluated with details
      Then the "before" hook should have been executed
      And the "after, finally" hooks should be called with evaluation details
        | data_type | key        | value    |
        | string    | flag_key   | discount |
        | float     | value      | 0.25     |
        | string    | variant    | quarter  |
        | string    | reason     | STATIC   |
        | string    | error_code | null     |

    Scenario: Hooks get an error
      Given a client with added hook
      And an Object-flag with key "banner" and a default value "{}"
      When the flag was evaluated with details
      Then the "error" hook should have been executed
      And the "finally" hooks should be called with evaluation details
        | data_type | key        | value         |
        | object    | value      | {}            |
        | string    | reason     | ERROR         |
        | string    | error_code | TYPE_MISMATCH |

    Scenario: Hooks of one evaluation run in their order
      Given a Boolean-flag with key "checkout" and a default value "false"
      And evaluation options containing specific hooks
      When the flag was evaluated with details using the evaluation options
      Then the specified hooks should execute during evaluation
      And the hook order should be maintained

    Scenario Outline: An application gets events about the provider's state
      When a <event> handler is attached
      And <what happens>
      Then the <event> handler must run

      Examples:
        | event          | what happens                                     |
        | PROVIDER_READY | the provider is set and successfully initialized |
        | PROVIDER_ERROR | the provider is set and fails to initialize      |
        | PROVIDER_STALE | the server goes away                             |

    Scenario: An application gets events about changed flags
      When a PROVIDER_CONFIGURATION_CHANGED handler is attached
      And a flag with key "opening-hours" is modified
      Then the PROVIDER_CONFIGURATION_CHANGED handler must run
      And the event details must indicate "opening-hours" was altered

  Rule: Releases and kills work through OpenFeature

    Scenario: A killed flag serves its off variant until it is restored
      Given a new flag with key "self-service" that is on
      And a Boolean-flag with key "self-service" and a default value "true"
      Then the resolved details value should become "true"
      When the flag is killed
      Then the resolved details value should become "false"
      And the resolved metadata should contain
        | key    | metadata_type | value |
        | killed | Boolean       | true  |
      When the flag is restored
      Then the resolved details value should become "true"

    Scenario Outline: An operation counts for the release that it was exposed to
      Given a new flag with key "<key>" under a release to everyone
      And a stable provider
      And a Boolean-flag with key "<key>" and a default value "false"
      And a context containing a targeting key with value "ann"
      When the flag was evaluated with details in <work>
      Then the resolved details value should be "true"
      And the variant should be "on"
      And the resolved metadata should name the release
      And the resolved metadata should contain
        | key   | metadata_type | value |
        | stage | Integer       | 1     |
      And the server should count 1 outcome of the treatment, <errors> of them errors

      Examples:
        | key           | work                                         | errors |
        | quick-search  | a unit of work                               | 0      |
        | quick-returns | a unit of work that tracks "tidegate.failed" | 1      |
