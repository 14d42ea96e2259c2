"""Analytics that people write: every one must be answered. Over flights(id, carrier, delay) and `late`."""

from __future__ import annotations

# A dataset in the tests, called `late`: moment, carrier, minutes, legs, place, note.
LATE = """
    SELECT TIMESTAMP '2024-01-01' + INTERVAL (i * 7) HOUR AS moment,
           ['AA', 'UA', 'DL'][i % 3 + 1] AS carrier, (i * 13 % 41)::INT AS minutes,
           [i, i + 1, i * 2] AS legs, {'city': 'c' || i % 4, 'gate': i % 9} AS place,
           ('{"a": ' || i || ', "b": ["x", "y"]}')::JSON AS note
    FROM range(120) r(i)
"""

LEGITIMATE = [
    # common table expressions
    "WITH a AS (FROM flights), b AS (SELECT carrier, count(*) n FROM a GROUP BY 1) SELECT * FROM b ORDER BY n DESC",
    "WITH RECURSIVE days(d) AS (SELECT DATE '2024-01-01' UNION ALL SELECT (d + INTERVAL 1 DAY)::DATE FROM days WHERE d < DATE '2024-01-31') SELECT count(*) FROM days",
    "WITH RECURSIVE tree(id, path) AS (SELECT 1, 'root' UNION ALL SELECT t.id + 1, t.path || '/' || f.carrier FROM tree t JOIN flights f ON f.id = t.id + 1) FROM tree",
    "WITH a AS MATERIALIZED (FROM late), b AS NOT MATERIALIZED (FROM a WHERE minutes > 5) SELECT count(*) FROM b x JOIN b y USING (carrier)",
    # joins
    "SELECT f.id, l.minutes FROM flights f JOIN late l USING (carrier) ORDER BY ALL LIMIT 5",
    "SELECT f.carrier, count(l.minutes) FROM flights f LEFT JOIN late l ON l.carrier = f.carrier AND l.minutes > 30 GROUP BY ALL",
    "SELECT count(*) FROM flights f FULL JOIN (SELECT DISTINCT carrier FROM late) l USING (carrier)",
    "SELECT a.id, b.id FROM flights a JOIN flights b ON a.delay < b.delay",
    "SELECT * FROM flights SEMI JOIN late USING (carrier)",
    "SELECT * FROM flights ANTI JOIN late USING (carrier)",
    "SELECT * FROM flights NATURAL JOIN (SELECT carrier, avg(minutes) m FROM late GROUP BY ALL)",
    "SELECT a.id, b.id FROM flights a POSITIONAL JOIN flights b",
    "SELECT f.id, l.minutes FROM (SELECT id, carrier, TIMESTAMP '2024-01-02' + INTERVAL (id) HOUR AS at FROM flights) f ASOF JOIN late l ON f.carrier = l.carrier AND f.at >= l.moment",
    "SELECT f.id, l.minutes FROM (SELECT id, TIMESTAMP '2020-01-01' AS at FROM flights) f ASOF LEFT JOIN late l ON f.at >= l.moment",
    "SELECT f.id, x.m FROM flights f, LATERAL (SELECT max(minutes) m FROM late l WHERE l.carrier = f.carrier) x",
    "SELECT count(*) FROM flights CROSS JOIN late",
    # windows
    "SELECT id, sum(delay) OVER (PARTITION BY carrier ORDER BY id ROWS UNBOUNDED PRECEDING) FROM flights",
    "SELECT moment, avg(minutes) OVER (ORDER BY moment RANGE BETWEEN INTERVAL 3 DAY PRECEDING AND INTERVAL 1 DAY FOLLOWING) FROM late",
    "SELECT moment, minutes - lag(minutes, 1, 0) OVER w AS change, first_value(minutes) OVER w, ntile(4) OVER w, percent_rank() OVER w FROM late WINDOW w AS (PARTITION BY carrier ORDER BY moment)",
    "SELECT minutes, sum(minutes) OVER (ORDER BY moment GROUPS BETWEEN 1 PRECEDING AND CURRENT ROW EXCLUDE TIES) FROM late",
    "SELECT carrier, count(*) FILTER (WHERE minutes > 10) OVER (PARTITION BY carrier) FROM late",
    "SELECT last_value(delay IGNORE NULLS) OVER (ORDER BY id) FROM flights",
    "SELECT * FROM late QUALIFY rank() OVER (PARTITION BY carrier ORDER BY minutes DESC) <= 2",
    "SELECT carrier, sum(minutes) total, sum(sum(minutes)) OVER () AS everything FROM late GROUP BY carrier",
    # groups
    "SELECT carrier, date_trunc('week', moment) AS week, sum(minutes), grouping(carrier) FROM late GROUP BY GROUPING SETS ((carrier, week), (carrier), ())",
    "SELECT carrier, minutes % 2 AS odd, count(*) FROM late GROUP BY CUBE (carrier, odd)",
    "SELECT carrier, minutes % 2 AS odd, count(*) FROM late GROUP BY ROLLUP (carrier, odd) HAVING count(*) > 1 ORDER BY ALL NULLS FIRST",
    "SELECT DISTINCT ON (carrier) carrier, minutes FROM late ORDER BY carrier, minutes DESC",
    "SELECT mode(carrier), median(minutes), quantile_cont(minutes, [0.1, 0.5, 0.9]), stddev(minutes), approx_count_distinct(minutes), arg_max(carrier, minutes) FROM late",
    "SELECT string_agg(DISTINCT carrier, ', ' ORDER BY carrier), list(minutes ORDER BY minutes DESC)[:3], histogram(carrier), count(DISTINCT carrier) FROM late",
    "SELECT corr(minutes, legs[1]), regr_slope(minutes, legs[1]), covar_pop(minutes, 2), bool_or(minutes > 40), bit_and(minutes) FROM late",
    "SELECT percentile_disc(0.9) WITHIN GROUP (ORDER BY minutes) FROM late",
    "SELECT width, count(*) FROM (SELECT floor(minutes / 10) * 10 AS width FROM late) GROUP BY width ORDER BY width",
    "SELECT first(carrier ORDER BY minutes), any_value(note), max(minutes, 3), max_by(carrier, minutes, 2) FROM late",
    # set operations, values and subqueries
    "SELECT carrier FROM flights UNION SELECT carrier FROM late",
    "SELECT carrier FROM flights INTERSECT SELECT carrier FROM late EXCEPT SELECT 'DL'",
    "SELECT carrier, id FROM flights UNION ALL BY NAME SELECT minutes, carrier FROM late",
    "SELECT * FROM (VALUES (1, 'one'), (2, 'two')) AS v(n, name) JOIN flights ON id = n",
    "SELECT id, (SELECT count(*) FROM late l WHERE l.carrier = f.carrier) FROM flights f",
    "SELECT id FROM flights f WHERE EXISTS (SELECT 1 FROM late l WHERE l.carrier = f.carrier AND l.minutes > f.delay)",
    "SELECT id FROM flights WHERE delay > ALL (SELECT minutes FROM late WHERE minutes < 5)",
    "SELECT id FROM flights WHERE (carrier, id) IN (SELECT carrier, legs[1] FROM late)",
    "SELECT ARRAY(SELECT id FROM flights ORDER BY id)",
    # lists, structs, maps and json
    "SELECT unnest(legs) AS leg, carrier FROM late ORDER BY leg LIMIT 3",
    "SELECT l.carrier, u.leg, u.place FROM late l, unnest(l.legs) WITH ORDINALITY AS u(leg, place)",
    "SELECT list_transform(legs, lambda x: x * 2), list_filter(legs, lambda x, i: i > 1), list_sum(legs), legs[2:], legs[-1], [x + 1 FOR x IN legs IF x % 2 = 0] FROM late",
    "SELECT list_zip(legs, legs), list_sort(legs, 'DESC'), list_distinct(legs), list_contains(legs, 3), list_position(legs, 3), flatten([legs, legs]), list_aggregate(legs, 'max'), len(legs) FROM late",
    "SELECT place.city, place['gate'], struct_insert(place, floor := 2), {'a': 1, 'b': [1, 2]}.b[2], row(1, 'x') FROM late",
    "SELECT unnest(place) FROM late",
    "SELECT MAP {'a': 1, 'b': 2}['a'], map_keys(MAP {'a': 1}), map_from_entries([('k', 7)]), cardinality(MAP {'a': 1})",
    "SELECT note->>'$.a', note->'$.b', json_extract_string(note, '$.b[0]'), json_array_length(note, '$.b'), json_keys(note), note->>'a' AS a FROM late",
    "SELECT key, value FROM late, json_each(note) LIMIT 4",
    "SELECT json_object('carrier', carrier, 'minutes', minutes), to_json(place), json_quote(carrier) FROM late",
    'SELECT json_transform(note, \'{"a": "INTEGER"}\').a FROM late',
    # text
    "SELECT upper(carrier) || '-' || lpad(id::VARCHAR, 5, '0'), format('{:>8}|{:05.1f}', carrier, id::DOUBLE), printf('%s %d', carrier, id) FROM flights",
    "SELECT regexp_extract(carrier, '([A-Z])', 1), regexp_replace(carrier, '[AEIOU]', '*', 'g'), string_split('a,b', ','), split_part('a-b', '-', 2), carrier SIMILAR TO '[A-Z]+' FROM flights",
    "SELECT levenshtein(carrier, 'UA'), jaro_winkler_similarity(carrier, 'AU'), left(carrier, 1), substring(carrier FROM 2 FOR 1), position('A' IN carrier), trim(BOTH ' ' FROM ' x '), starts_with(carrier, 'U') FROM flights",
    "SELECT carrier FROM flights WHERE carrier LIKE 'U%' OR carrier ILIKE '_a' OR carrier GLOB '[A-D]*' OR regexp_matches(carrier, '^D')",
    # dates
    "SELECT date_trunc('month', moment), extract(dow FROM moment), strftime(moment, '%G-W%V'), age(moment, TIMESTAMP '2020-01-01'), date_diff('day', DATE '2024-01-01', moment::DATE), last_day(moment), dayname(moment), epoch_ms(moment) FROM late",
    "SELECT time_bucket(INTERVAL 6 HOUR, moment) AS bucket, count(*) FROM late GROUP BY bucket ORDER BY bucket",
    "SELECT moment AT TIME ZONE 'Europe/Berlin', strptime('03.02.2024', '%d.%m.%Y'), make_date(2024, 2, 29), to_timestamp(0), INTERVAL '1 month 2 days' + DATE '2024-01-31', moment + to_minutes(minutes) FROM late",
    "SELECT d::DATE, count(l.moment) FROM generate_series(DATE '2024-01-01', DATE '2024-01-07', INTERVAL 1 DAY) t(d) LEFT JOIN late l ON l.moment::DATE = d GROUP BY 1 ORDER BY 1",
    # shapes, stars and pivots
    "FROM flights SELECT carrier, id WHERE delay IS NOT NULL",
    "FROM late SELECT * EXCLUDE (note, legs) REPLACE (minutes / 60 AS minutes) LIMIT 2",
    "SELECT f.*, l.minutes FROM flights f JOIN late l USING (carrier)",
    "SELECT COLUMNS('m.*'), min(COLUMNS(* EXCLUDE (legs, place, note))) OVER () FROM late",
    "SELECT minutes AS m, m * 2 AS twice, twice + 1 AS more FROM late WHERE m > 3 GROUP BY ALL HAVING twice > 8",
    "FROM (SELECT carrier, delay FROM flights) PIVOT (sum(delay) AS s, count(*) AS n FOR carrier IN ('AA', 'UA', 'DL'))",
    "FROM (SELECT id, delay FROM flights) UNPIVOT (value FOR name IN (id, delay))",
    "SELECT carrier, CASE WHEN delay IS NULL THEN 'none' WHEN delay > 5 THEN 'late' ELSE 'fine' END AS how, coalesce(delay, 0), nullif(delay, 5), if(delay > 0, 1, 0), try_cast(carrier AS INT), TRY(1 / (id - 1)) FROM flights",
    "SELECT carrier, delay FROM flights ORDER BY delay DESC NULLS LAST, 1 LIMIT 2 OFFSET 1",
    "SELECT * FROM late USING SAMPLE 10 ROWS",
    "SELECT count(*) FROM late TABLESAMPLE bernoulli(50%)",
    "SELECT * FROM late USING SAMPLE reservoir(5 ROWS) REPEATABLE (42)",
    "SELECT id, delay / nullif(id, 1), round(delay * 1.5, 2), delay // 2, delay % 3, 2 ** 10, abs(delay), greatest(id, delay), width_bucket FROM (SELECT *, 1 AS width_bucket FROM flights)",
    "SELECT hash(carrier) % 4, md5(carrier), uuid() IS NOT NULL, random() < 2, typeof(delay), 170141183460469231731687303715884105727 AS big FROM flights",
    "SELECT _row_id, _version, id FROM flights WHERE _row_id > 1",
]
