"""Data sets in miniature, as people have them on disk: real recordings in real codecs under the published tables."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
from sound_files import encode, mp3, sounds, write_sound

ONTOLOGY = (
    'index,mid,display_name\n0,/m/09x0r,"Bird"\n1,/m/0395lw,"Bell, small"\n2,/m/01qbl,"Cymbal"\n3,/m/01p970,"Tabla"\n'
)
MIDS = {"bird": "/m/09x0r", "bell": "/m/0395lw", "cymbal": "/m/01qbl", "tabla": "/m/01p970"}
COLUMNS = {name: column for column, name in enumerate(MIDS)}
HEAD = (
    "# Segments csv created Sun Mar  5 10:54:31 2017\n# num_ytids=2, num_segs=2\n"
    "# YTID, start_seconds, end_seconds, positive_labels\n"
)
BALANCED = {"-0abcdefghi": ("bird", 30.0), "Yxyzxyzxyzx": ("bell", 0.0)}
UNBALANCED = {"aaaaaaaaaaa": ("cymbal", 120.0)}
EVAL = {"testtesttes": ("tabla", 50.0), "_-_-_-_-_-_": ("bird", 10.0)}


def segments(clips: dict[str, tuple[str, float]]) -> str:
    rows = (f'{clip}, {start:.3f}, {start + 10:.3f}, "{MIDS[name]}"\n' for clip, (name, start) in clips.items())
    return HEAD + "".join(rows)


def write_audioset_tables(root: Path) -> None:
    root.mkdir(parents=True, exist_ok=True)
    (root / "class_labels_indices.csv").write_text(ONTOLOGY)
    (root / "balanced_train_segments.csv").write_text(segments(BALANCED))
    (root / "unbalanced_train_segments.csv").write_text(segments(UNBALANCED))
    (root / "eval_segments.csv").write_text(segments(EVAL))


def write_audioset(root: Path, pattern: str = "{table}/{id}.wav") -> Path:
    """`pattern`: with table (balanced_train, ...), id, start, end (seconds)."""
    write_audioset_tables(root)
    for table, clips in {"balanced_train": BALANCED, "unbalanced_train": UNBALANCED, "eval": EVAL}.items():
        for clip, (name, start) in clips.items():
            times = {
                "start": start,
                "end": start + 10,
                "start_ms": int(1000 * start),
                "end_ms": int(1000 * start) + 10_000,
            }
            write_sound(root / pattern.format(table=table, id=clip, **times), name)
    return root


def write_esc50(root: Path) -> Path:
    """Two categories, a clip of each in every fold, 44.1 kHz as published."""
    rows = ["filename,fold,target,category,esc10,src_file,take"]
    (root / "audio").mkdir(parents=True)
    (root / "meta").mkdir()
    for fold in range(1, 6):
        for target, name in enumerate(("bird", "bell")):
            file = f"{fold}-{100000 + fold}-A-{target}.wav"
            rows.append(f"{file},{fold},{target},{name},True,{100000 + fold},A")
            (root / "audio" / file).write_bytes(encode(sounds()[name] / fold, 16_000, "WAV", "PCM_16"))
    (root / "meta/esc50.csv").write_text("\n".join(rows) + "\n")
    return root


def write_speech_commands(root: Path, words: tuple[str, ...] = ("yes", "no"), clips: int = 4) -> Path:
    """Clip 0 of every word is tested on, clip 1 validated on."""
    for word in words:
        for clip in range(clips):
            write_sound(root / word / f"{clip}_nohash_0.wav", "bird" if word == "yes" else "bell", 1 / (1 + clip))
    write_sound(root / "_background_noise_/running_tap.wav", "cymbal")
    (root / "testing_list.txt").write_text("".join(f"{word}/0_nohash_0.wav\n" for word in words))
    (root / "validation_list.txt").write_text("".join(f"{word}/1_nohash_0.wav\n" for word in words))
    return root


def write_fsd50k(root: Path, *, nested: bool = False) -> Path:
    inner = "/{0}" if nested else ""
    tables = root / "FSD50K.ground_truth"
    tables.mkdir(parents=True)
    (tables / "vocabulary.csv").write_text(
        "0,Bell,/m/0395lw\n1,Bird,/m/015p6\n2,Percussion,/m/0l14md\n3,Tabla,/m/01p970\n"
    )
    (tables / "dev.csv").write_text(
        'fname,labels,mids,split\n64760,Bird,/m/015p6,train\n16399,"Tabla,Percussion","/m/01p970,/m/0l14md",train\n'
        "16401,Bell,/m/0395lw,val\n"
    )
    (tables / "eval.csv").write_text('fname,labels,mids\n37199,"Tabla,Percussion","/m/01p970,/m/0l14md"\n')
    for part, clips in {"dev": {64760: "bird", 16399: "tabla", 16401: "bell"}, "eval": {37199: "tabla"}}.items():
        folder = f"FSD50K.{part}_audio"
        for clip, name in clips.items():
            write_sound(root / (folder + inner.format(folder)) / f"{clip}.wav", name, 0.5 if part == "eval" else 1.0)
    return root


def write_ast_lists(root: Path) -> Path:
    """Lists that were made on another machine."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "class_labels_indices.csv").write_text(ONTOLOGY)
    (root / "datafiles").mkdir()
    for split, names in {"train": ("bird", "bell"), "eval": ("tabla",)}.items():
        entries = []
        for name in names:
            write_sound(root / f"audio_16k/{name}.flac", name)
            entries.append({"wav": f"/data/sls/scratch/somebody/audio_16k/{name}.flac", "labels": f"{MIDS[name]}"})
        (root / f"datafiles/{split}.json").write_text(json.dumps({"data": entries}))
    return root


def write_table(root: Path) -> Path:
    """One table of all clips, some with several labels."""
    for name in sounds():
        write_sound(root / f"clips/{name}.mp3", name)
    (root / "all.csv").write_text(
        "path;tags;part\nclips/bird;animal,bird;training\n./clips/bell.mp3;bell;train\n"
        "clips\\cymbal.mp3;bell, cymbal;valid\nclips/tabla;drum;test\n"
    )
    return root


def write_audio_folder(root: Path, *, splits: bool = True) -> Path:
    for split in ("train", "validation", "test") if splits else ("",):
        for name in ("bird", "bell"):
            for clip in range(1 if splits else 20):
                write_sound(root / split / name / f"{clip}.ogg", name)
    return root


def write_parquet(root: Path, *, rows_per_group: int = 1) -> Path:
    """As agkphysics/AudioSet on the Hub: FLAC of 24 bits in `audio`, a folder a split."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    (root / "data").mkdir(parents=True)
    (root / "class_labels_indices.csv").write_text(ONTOLOGY)
    for folder, clips in {"bal_train": BALANCED, "unbal_train": UNBALANCED, "eval": EVAL}.items():
        (root / "data" / folder).mkdir()
        table = pa.table(
            {
                "video_id": list(clips),
                "audio": [
                    {"bytes": encode(sounds()[name], 16_000, "FLAC", "PCM_24"), "path": f"audio/{folder}/{clip}.flac"}
                    for clip, (name, _) in clips.items()
                ],
                "labels": [[MIDS[name]] for name, _ in clips.values()],
                "human_labels": [[name] for name, _ in clips.values()],
            }
        )
        pq.write_table(table, root / "data" / folder / "00.parquet", row_group_size=rows_per_group)
    return root


def write_shard(path: Path, clips: dict[str, str], names: list[str], file: str | None = None) -> None:
    """A shard as `datasets` writes it: numbers as labels, which its description names; every clip lies in `file`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    described = {"info": {"features": {"label": {"names": names, "_type": "ClassLabel"}}}}
    audio = [{"bytes": encode(sounds()[clip], 16_000, "WAV", "PCM_16"), "path": file} for clip in clips]
    table = pa.table({"id": list(clips), "audio": audio, "label": [names.index(label) for label in clips.values()]})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table.replace_schema_metadata({"huggingface": json.dumps(described)}), path)


def write_hdf5(root: Path, *, packed: bool = False) -> Path:
    """As PANNs packs it: int16 at 32 kHz, and an empty row for a clip that was missing; packed: as PaSST does."""
    import h5py

    root.mkdir(parents=True, exist_ok=True)
    (root / "class_labels_indices.csv").write_text(ONTOLOGY)
    for file, clips in {"balanced_train": BALANCED, "eval": EVAL}.items():
        names = [name for name, _ in clips.values()]
        targets = np.zeros((len(clips) + (not packed), 4), bool)
        targets[range(len(clips)), [COLUMNS[name] for name in names]] = True
        with h5py.File(root / f"{file}{'_segments_mp3.hdf' if packed else '.h5'}", "w") as target:
            ids = [f"Y{clip}.{'mp3' if packed else 'wav'}" for clip in clips] + ([] if packed else [""])
            target.create_dataset("audio_name", data=np.array(ids, "S20"))
            if packed:
                target.create_dataset("target", data=np.packbits(targets, axis=1))
                mp3s = target.create_dataset("mp3", (len(clips),), h5py.vlen_dtype(np.uint8))
                for row, name in enumerate(names):
                    mp3s[row] = np.frombuffer(mp3(sounds()[name], 16_000), np.uint8)
            else:
                target.create_dataset("target", data=targets)
                waveforms = np.zeros((len(clips) + 1, 32_000), np.int16)
                for row, name in enumerate(names):
                    waveforms[row] = np.repeat(np.round(sounds()[name] * 32_767), 2)
                target.create_dataset("waveform", data=waveforms)
                target.attrs["sample_rate"] = np.int32(32_000)
    return root


def write_bad_esc50(root: Path) -> dict[str, str]:
    """ESC-50 with clips of every fault in fold 1 and sound ones elsewhere; returns what is the matter by file."""
    write_esc50(root)
    audio, bird = root / "audio", sounds()["bird"]
    clips = {
        "empty.wav": (b"", "unreadable"),
        "truncated.wav": (encode(bird, 16_000, "WAV", "PCM_16")[:9_000], "unreadable"),
        "text.wav": (b"Dear listener,\n", "unreadable"),
        "nan.wav": (encode(np.where(np.arange(16_000) == 99, np.nan, bird), 16_000, "WAV", "FLOAT"), "not a number"),
        "integers.wav": (encode(bird * 30_000, 16_000, "WAV", "FLOAT"), "wrong scale"),
        "one_sample.wav": (encode(bird[:1], 16_000, "WAV", "PCM_16"), "too short"),
        "no_sample.wav": (encode(bird[:0], 16_000, "WAV", "PCM_16"), "too short"),
        "hours.wav": (b"", "too long"),
        "loop.wav": (b"", "missing"),
        "gone.wav": (b"", "missing"),
        "silent.wav": (encode(0 * bird, 16_000, "WAV", "PCM_16"), "silent"),
        "clipped.wav": (encode(np.clip(50 * bird, -1, 1), 16_000, "WAV", "PCM_16"), "clipped"),
        "cancels.wav": (encode(np.stack([bird, -bird], 1), 16_000, "WAV", "PCM_16"), "channels cancel"),
        "mp3.wav": (mp3(bird, 16_000), ""),
        "8khz.wav": (encode(bird[::2], 8_000, "WAV", "ULAW"), ""),
        "96khz.wav": (encode(np.repeat(bird, 6), 96_000, "WAV", "PCM_24"), ""),
    }
    with (root / "meta/esc50.csv").open("a") as table:
        for name, (content, _) in clips.items():
            (audio / name).write_bytes(content)
            table.write(f"{name},1,0,bird,True,0,A\n")
    (audio / "gone.wav").unlink()
    (audio / "loop.wav").unlink()
    (audio / "loop.wav").symlink_to("loop.wav")
    samples = 3 * 3600 * 8_000
    form = struct.pack("<HHIIHH", 1, 1, 8_000, 8_000, 1, 8)
    with (audio / "hours.wav").open("wb") as file:
        file.write(b"RIFF" + struct.pack("<I", 36 + samples) + b"WAVEfmt " + struct.pack("<I", 16) + form)
        file.write(b"data" + struct.pack("<I", samples))
        file.truncate(44 + samples)
    return {name: what for name, (_, what) in clips.items()}
