BEGIN TRANSACTION;
CREATE TABLE defects (
        part_id  INTEGER NOT NULL REFERENCES parts ON DELETE CASCADE,
        n        INTEGER NOT NULL,
        class_id INTEGER NOT NULL,
        x0       INTEGER NOT NULL,
        y0       INTEGER NOT NULL,
        x1       INTEGER NOT NULL,
        y1       INTEGER NOT NULL,
        area_px  INTEGER NOT NULL,
        area_mm2 REAL,
        score    REAL    NOT NULL,
        zone     TEXT    NOT NULL,
        PRIMARY KEY (part_id, n)
    ) WITHOUT ROWID;
INSERT INTO "defects" VALUES(1,0,1,3,4,30,40,700,7.25,0.875,'inspect');
INSERT INTO "defects" VALUES(1,1,2,0,0,1,1,1,NULL,1.0,'ignore');
INSERT INTO "defects" VALUES(3,0,1,3,4,30,40,700,7.25,0.875,'inspect');
INSERT INTO "defects" VALUES(3,1,2,0,0,1,1,1,NULL,1.0,'ignore');
CREATE TABLE meta (
        key   TEXT PRIMARY KEY,
        value TEXT NOT NULL
    ) WITHOUT ROWID;
INSERT INTO "meta" VALUES('clean_stop','1');
INSERT INTO "meta" VALUES('file_id','6abbf3ec03c14c04');
INSERT INTO "meta" VALUES('last_record_no','3');
INSERT INTO "meta" VALUES('opened_at','2026-01-01T00:00:00.000000+00:00');
CREATE TABLE parts (
        part_id      INTEGER PRIMARY KEY,
        line_seqno   INTEGER,
        triggered_at TEXT    NOT NULL,
        at_ns        INTEGER NOT NULL,
        deadline_ns  INTEGER NOT NULL,
        outcome      TEXT    NOT NULL CHECK (outcome IN ('PASS', 'REJECT', 'NOT_INSPECTED')),
        reasons      TEXT    NOT NULL,
        defect_count INTEGER NOT NULL,
        model_id     TEXT    NOT NULL,
        recipe_id    TEXT    NOT NULL,
        decided_ns   INTEGER NOT NULL,
        stage_ms     TEXT    NOT NULL,
        label        TEXT    NOT NULL,
        picture      TEXT
    , record_no INTEGER, recipe_number INTEGER NOT NULL DEFAULT 0, recipe_digest TEXT NOT NULL DEFAULT '', tiles_computed INTEGER NOT NULL DEFAULT 0, tiles_skipped INTEGER NOT NULL DEFAULT 0, tiles_audited INTEGER NOT NULL DEFAULT 0, tiles_missed INTEGER NOT NULL DEFAULT 0, tile_px INTEGER NOT NULL DEFAULT 0, engine TEXT NOT NULL DEFAULT '');
INSERT INTO "parts" VALUES(1,1,'2026-11-23T10:00:01.000007+00:00',1000000000,1200000000,'REJECT','["open: 2 > 0", "Kratzer gr\u00f6\u00dfer als 3 mm\u00b2"]',5,'pcb/3','board-a',1150000000,'{"capture": 12.5, "queue": 0.1, "total": 150.0}','',NULL,1,0,'',0,0,0,0,0,'');
INSERT INTO "parts" VALUES(2,2,'2026-11-23T10:00:02.000007+00:00',2000000000,2200000000,'PASS','[]',0,'pcb/3','board-a',2150000000,'{"capture": 12.5, "queue": 0.1, "total": 150.0}','',NULL,2,0,'',0,0,0,0,0,'');
INSERT INTO "parts" VALUES(3,3,'2026-11-23T10:00:03.000007+00:00',3000000000,3200000000,'REJECT','["open: 2 > 0", "Kratzer gr\u00f6\u00dfer als 3 mm\u00b2"]',5,'pcb/3','board-a',3150000000,'{"capture": 12.5, "queue": 0.1, "total": 150.0}','','2026-11-23/NG/000000003-picture.jpg',3,0,'',0,0,0,0,0,'');
CREATE INDEX parts_by_time ON parts (triggered_at, outcome);
CREATE UNIQUE INDEX parts_by_record_no ON parts (record_no);
CREATE TRIGGER parts_are_numbered AFTER INSERT ON parts BEGIN
        UPDATE meta SET value = value + 1 WHERE key = 'last_record_no';
        UPDATE parts SET record_no = (SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'last_record_no')
        WHERE part_id = new.part_id;
    END;
COMMIT;
PRAGMA user_version = 6;
