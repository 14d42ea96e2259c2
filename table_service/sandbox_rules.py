"""What people's SQL may be made of: allowlists and limits, each with its reason.

Whatever is not named here is refused, so that what a later DuckDB brings stays out until someone
has looked at it. `table_service.sandbox` applies these; this module only lists.
"""

from __future__ import annotations


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# JSON levels and objects of a serialised statement: one chained operator costs three levels in
# DuckDB 2.0, so this allows about 80 in a row. Past some 900 levels Python's JSON reader gives up
# on its own.
DEPTH_MAX = 250
NODES_MAX = 20_000

# `memory_limit` does not count what a scalar function allocates, so a size has to be known before
# the statement runs. One vector is 2,048 rows: 10,000 characters each are 20 MB.
SIZE_MAX = 10_000
# Sizes that feed one another multiply: repeat(repeat('a', 1000), 1000) is a million characters a
# row.
GROWTH_MAX = 100_000
# A fixed-size array is allocated whole for each row of a vector, even when it is NULL.
ARRAY_ELEMENTS_MAX = 4_096

# What a statement may become while it is planned, where nothing can stop it. An alias is written out
# wherever it stands: `SELECT a + a AS b, b + b AS c, …` doubles with each.
WRITTEN_OUT_MAX = 100_000
# Parts of expressions that stand for one a column; there may be a thousand columns.
STAR_PARTS_MAX = 1_000
# How often one table's columns come again, and of how many tables, where stars stand over stars.
STARS_MAX = 16
STAR_TABLES_MAX = 256
PIVOT_COLUMNS_MAX = 2_000
# CUBE makes one for each subset of its columns, and each has a hash table.
GROUPING_SETS_MAX = 1_024
# DuckDB 1.5 takes a minute for twenty correlated subqueries within one another, 2.0 ten seconds for 150
# beside one another.
SUBQUERY_DEPTH_MAX = 10
SUBQUERIES_MAX = 64
# Each goes through a list for every element of the one around it.
LAMBDA_DEPTH_MAX = 3

# Query nodes that only read. DELETE_QUERY_NODE and its kin arrive inside a CTE of a SELECT, and
# COPY too.
QUERY_NODES = frozenset({"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE"})

# SHOW_REF (DESCRIBE, SUMMARIZE, SHOW) reads the catalogue and is left out, as are Python's own
# relations.
TABLE_REFERENCES = frozenset(
    {"BASE_TABLE", "SUBQUERY", "JOIN", "TABLE_FUNCTION", "EXPRESSION_LIST", "EMPTY", "PIVOT"}
)

MODIFIERS = frozenset(
    {
        *("ORDER_MODIFIER", "LIMIT_MODIFIER", "LIMIT_PERCENT_MODIFIER", "DISTINCT_MODIFIER"),
        *("ORDER_DEFAULT", "ASCENDING", "DESCENDING"),
    }
)

# How DuckDB 1.5 writes the parameters of a type; 2.0 writes types as expressions of class TYPE.
TYPE_DETAILS = frozenset(
    {
        *("ARRAY_TYPE_INFO", "DECIMAL_TYPE_INFO", "ENUM_TYPE_INFO", "GENERIC_TYPE_INFO"),
        *("LIST_TYPE_INFO", "STRING_TYPE_INFO", "STRUCT_TYPE_INFO", "UNBOUND_TYPE_INFO"),
    }
)

CLAUSES = QUERY_NODES | TABLE_REFERENCES | MODIFIERS | TYPE_DETAILS

# Expression class → the expression types it may have. DEFAULT and everything bound are left out.
EXPRESSIONS: dict[str, frozenset[str]] = {
    "BETWEEN": frozenset({"COMPARE_BETWEEN", "COMPARE_NOT_BETWEEN"}),
    "CASE": frozenset({"CASE_EXPR"}),
    "CAST": frozenset({"OPERATOR_CAST"}),
    "COLLATE": frozenset({"COLLATE"}),
    "COLUMN_REF": frozenset({"COLUMN_REF"}),
    "COMPARISON": frozenset(
        {
            *("COMPARE_EQUAL", "COMPARE_NOTEQUAL", "COMPARE_LESSTHAN", "COMPARE_GREATERTHAN"),
            *("COMPARE_LESSTHANOREQUALTO", "COMPARE_GREATERTHANOREQUALTO"),
            *("COMPARE_DISTINCT_FROM", "COMPARE_NOT_DISTINCT_FROM"),
        }
    ),
    "CONJUNCTION": frozenset({"CONJUNCTION_AND", "CONJUNCTION_OR"}),
    "CONSTANT": frozenset({"VALUE_CONSTANT"}),
    "FUNCTION": frozenset({"FUNCTION"}),
    "LAMBDA": frozenset({"LAMBDA"}),
    "OPERATOR": frozenset(
        {
            *("OPERATOR_NOT", "OPERATOR_IS_NULL", "OPERATOR_IS_NOT_NULL", "OPERATOR_COALESCE"),
            *("OPERATOR_NULLIF", "OPERATOR_TRY", "OPERATOR_UNPACK", "COMPARE_IN"),
            *("COMPARE_NOT_IN", "ARRAY_CONSTRUCTOR", "ARRAY_EXTRACT", "ARRAY_SLICE"),
            *("STRUCT_EXTRACT", "GROUPING_FUNCTION"),
        }
    ),
    "PARAMETER": frozenset({"VALUE_PARAMETER"}),
    "POSITIONAL_REFERENCE": frozenset({"POSITIONAL_REFERENCE"}),
    "STAR": frozenset({"STAR"}),
    "SUBQUERY": frozenset({"SUBQUERY"}),
    "TYPE": frozenset({"TYPE"}),
    "WINDOW": frozenset(
        {
            *("WINDOW_AGGREGATE", "WINDOW_ROW_NUMBER", "WINDOW_RANK", "WINDOW_RANK_DENSE"),
            *("WINDOW_PERCENT_RANK", "WINDOW_CUME_DIST", "WINDOW_NTILE", "WINDOW_LEAD"),
            *("WINDOW_LAG", "WINDOW_FIRST_VALUE", "WINDOW_LAST_VALUE", "WINDOW_NTH_VALUE"),
            "WINDOW_FILL",
        }
    ),
}

# Types by any name the parser leaves in place. regclass, regtype and the like look names up in the
# catalogue; a type of a person's own would need a schema that is not theirs.
TYPES = _words(
    """
    bool boolean logical tinyint int1 smallint int2 short integer int int4 signed bigint int8
    long hugeint int128 utinyint uint8 usmallint uint16 uinteger uint32 ubigint uint64 uhugeint
    uint128 bignum varint integer_literal string_literal float real float4 double float8 decimal
    numeric dec varchar char bpchar text string nvarchar blob bytea binary varbinary bit
    bitstring uuid guid json date time time_ns timetz timestamp datetime timestamptz timestamp_s
    timestamp_ms timestamp_us timestamp_ns interval list array struct row map union enum variant
    null unbound
    """
) | {"time with time zone", "timestamp with time zone", '"null"'}

# Names DuckDB answers without any table when no column has them. `user` is missing on purpose: it
# is a common column, and what it gives away is a constant.
SESSION_NAMES = _words(
    """
    current_catalog current_database current_schema current_role current_user session_user
    """
)

# They make rows from their arguments and stream them. Everything else in FROM reads a file, the
# catalogue or the engine itself; `query` and `query_table` run text that nobody has checked.
TABLE_FUNCTIONS = _words(
    """
    range generate_series unnest json_each json_tree
    """
)

OPERATORS = _words(
    """
    + - * / // % ^ ** & | ~ << >> || @ ! !__postfix -> ->> = != <> < <= > >= && @> <@ <-> <=> ^@
    ~~ !~~ ~~* !~~* ~~~ like_escape not_like_escape ilike_escape not_ilike_escape
    """
)

# Left out: setseed (changes the session), factorial-like ones are bounded by their type.
MATHS = _words(
    """
    abs acos acosh add asin asinh atan atan2 atanh bit_count bit_position cbrt ceil ceiling cos
    cosh cot degrees divide even exp factorial fdiv floor fmod gamma gcd get_bit set_bit
    greatest greatest_common_divisor isfinite isinf isnan lcm least least_common_multiple lgamma
    ln log log10 log2 mod multiply nextafter pi pow power radians random round round_even
    roundbankers sign signbit sin sinh sqrt subtract tan tanh trunc xor hash
    """
)

# Their time grows with the product of both lengths, and nothing stops them: an expression about rows runs
# where others wait, and must not call them. A query costs its caller's turn.
UNSTOPPABLE = frozenset({"editdist3", "levenshtein"})
# What makes several rows of one.
SEVERAL_ROWS = frozenset({"generate_subscripts", "regexp_split_to_table", "unnest"})
# Left out: damerau_levenshtein, which allocates the product of both lengths.
STRINGS = _words(
    """
    array_to_string ascii bar base64 bin bit_length char_length character_length chr concat
    concat_ws contains decode editdist3 encode ends_with format format_bytes
    formatreadabledecimalsize formatreadablesize from_base64 from_binary from_hex hamming hex
    instr jaccard jaro_similarity jaro_winkler_similarity lcase left left_grapheme len length
    length_grapheme levenshtein lower lpad ltrim md5 md5_number md5_number_lower
    md5_number_upper mismatches nfc_normalize octet_length ord overlay parse_filename
    parse_dirname parse_dirpath parse_path parse_formatted_bytes position prefix printf
    regexp_escape regexp_extract regexp_extract_all regexp_full_match regexp_matches
    regexp_replace regexp_split_to_array regexp_split_to_table repeat replace reverse right
    right_grapheme rpad rtrim sha1 sha256 split split_part starts_with str_split str_split_regex
    string_split string_split_regex string_to_array strip_accents strlen strpos substr substring
    substring_grapheme suffix to_base to_base64 to_binary to_hex translate trim ucase unbin
    unhex unicode upper url_decode url_encode bitstring
    """
)

# Left out: sleep_ms and pg_sleep, which hold a thread and do nothing.
TIMES = _words(
    """
    age ago century current_date current_localtime current_localtimestamp current_time
    current_timestamp date_add date_diff date_part date_sub date_trunc datediff datepart datesub
    datetrunc day dayname dayofmonth dayofweek dayofyear days_in_month decade epoch epoch_ms
    epoch_ns epoch_us era get_current_time get_current_timestamp hour isodow isoyear julian
    last_day localtime localtimestamp make_date make_time make_timestamp make_timestamp_ms
    make_timestamp_ns make_timestamptz microsecond millennium millisecond minute month monthname
    nanosecond normalized_interval now quarter second strftime strptime time_bucket timezone
    timezone_hour timezone_minute to_centuries to_days to_decades to_hours to_microseconds
    to_millennia to_milliseconds to_minutes to_months to_quarters to_seconds to_timestamp
    to_weeks to_years today transaction_timestamp try_strptime week weekday weekofyear year
    yearweek
    """
)

# Left out: the reduce family. list_reduce(l, lambda a, b: a || a) doubles its value once an
# element, and no look at the text can tell. A statement wants an aggregate or list_aggregate
# instead.
LISTS = _words(
    """
    aggregate apply array_aggr array_aggregate array_append array_apply array_cat array_concat
    array_contains array_cosine_distance array_cosine_similarity array_cross_product
    array_distance array_distinct array_dot_product array_extract array_filter array_grade_up
    array_has array_has_all array_has_any array_indexof array_inner_product array_intersect
    array_length array_negative_dot_product array_negative_inner_product array_pop_back
    array_pop_front array_position array_prepend array_push_back array_push_front array_resize
    array_reverse array_reverse_sort array_select array_slice array_sort array_transform
    array_unique array_value array_where array_zip filter flatten generate_series
    generate_subscripts grade_up list_aggr list_aggregate list_any_value list_append
    list_approx_count_distinct list_apply list_avg list_bit_and list_bit_or list_bit_xor
    list_bool_and list_bool_or list_cat list_concat list_contains list_cosine_distance
    list_cosine_similarity list_count list_distance list_distinct list_dot_product list_element
    list_entropy list_extract list_filter list_first list_grade_up list_has list_has_all
    list_has_any list_histogram list_indexof list_inner_product list_intersect list_kurtosis
    list_kurtosis_pop list_last list_mad list_max list_median list_min list_mode
    list_negative_dot_product list_negative_inner_product list_pack list_position list_prepend
    list_product list_resize list_reverse list_reverse_sort list_select list_sem list_skewness
    list_slice list_sort list_stddev_pop list_stddev_samp list_string_agg list_sum
    list_transform list_unique list_value list_var_pop list_var_samp list_where list_zip range
    unnest
    """
)

# Left out: json_serialize_sql, json_deserialize_sql and json_execute_serialized_sql.
NESTED = _words(
    """
    cardinality element_at map map_concat map_contains map_contains_entry map_contains_value
    map_entries map_extract map_extract_value map_from_entries map_keys map_values row
    struct_concat struct_contains struct_extract struct_extract_at struct_has struct_indexof
    struct_insert struct_keys struct_pack struct_position struct_update struct_values
    union_extract union_tag union_value array_to_json from_json from_json_strict json json_array
    json_array_length json_contains json_deep_merge json_exists json_extract json_extract_path
    json_extract_path_text json_extract_string json_insert json_keys json_merge_patch
    json_merge_patch_diff json_normalize json_object json_pretty json_quote json_remove
    json_replace json_set json_strip_nulls json_structure json_transform json_transform_strict
    json_type json_valid json_value row_to_json to_json variant_array_length variant_contains
    variant_exists variant_extract variant_extract_string variant_keys variant_type
    variant_typeof
    """
)

# Left out: everything that tells of the server (version, current_setting, getvariable,
# in_search_path, pg_*), changes it (nextval, setval, write_log), or belongs to the optimiser
# (__internal_*, stats, vector_type).
CONDITIONALS = _words(
    """
    constant_or_null error assert_true gen_random_uuid if nullif switch typeof uuid
    uuid_extract_timestamp uuid_extract_version uuidv4 uuidv7
    """
)

# Left out: bitstring_agg, which allocates the range between its bounds, and the exported aggregate
# states.
AGGREGATES = _words(
    """
    any_value approx_count_distinct approx_quantile approx_top_k arbitrary arg_max arg_max_null
    arg_max_nulls_last arg_min arg_min_null arg_min_nulls_last argmax argmin array_agg avg
    bit_and bit_or bit_xor bool_and bool_or corr count count_if count_star countif covar_pop
    covar_samp entropy favg first fsum geomean geometric_mean group_concat histogram
    histogram_exact json_group_array json_group_object json_group_structure kahan_sum kurtosis
    kurtosis_pop last list listagg lttb mad max max_by mean median min min_by mode product
    quantile quantile_cont quantile_disc regr_avgx regr_avgy regr_count regr_intercept regr_r2
    regr_slope regr_sxx regr_sxy regr_syy reservoir_quantile sem skewness stddev stddev_pop
    stddev_samp string_agg sum sum_no_overflow sumkahan var_pop var_samp variance wavg
    weighted_avg
    """
)

WINDOWS = _words(
    """
    cume_dist dense_rank fill first_value lag last_value lead nth_value ntile percent_rank rank
    rank_dense row_number
    """
)

SCALARS = OPERATORS | MATHS | STRINGS | TIMES | LISTS | NESTED | CONDITIONALS

# The parser of DuckDB 1.5 puts these before a name on its own, as in main.list_value and
# pg_catalog.date_part. Any other qualified call is refused: `a.repeat(3)` may be the method of a
# column, with every argument one place further on; so is one with these, where a place matters.
PARSER_SCHEMAS = frozenset({"main", "pg_catalog"})

# Function → which argument says how much it makes, counted from 0.
SIZE_ARGUMENTS = {
    "repeat": 1,
    "lpad": 1,
    "rpad": 1,
    "bar": 3,
    "bitstring": 1,
    "to_base": 2,
    "list_resize": 1,
    "array_resize": 1,
}
SERIES = frozenset({"range", "generate_series"})
TEMPLATES = frozenset({"format", "printf"})
AGGREGATE_CALLS = frozenset(
    {"aggregate", "array_aggr", "array_aggregate", "list_aggr", "list_aggregate"}
)
LAMBDA_CALLS = _words(
    """
    apply array_apply array_filter array_transform filter list_apply list_filter list_transform
    """
)
# The ones whose size multiplies what they are given; the others only fill up to a width.
GROWING = SERIES | {"repeat", "list_resize", "array_resize"}

# Where an argument's place decides what is checked.
PLACED = frozenset(SIZE_ARGUMENTS) | SERIES | TEMPLATES | AGGREGATE_CALLS
