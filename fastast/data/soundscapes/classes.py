"""Define what can be heard in a soundscape: the classes, their parents, and how each kind of sound behaves."""

from __future__ import annotations

DRUMS = ("Bass drum", "Snare drum", "Hi-hat", "Cymbal", "Tom", "Hand drum")
"""Drums, drawn only as a loop of one kit; their order determines what the mixer draws."""

INSTRUMENTS = (
    "Piano",
    "Mallet percussion",
    "Organ",
    "Accordion",
    "Acoustic guitar",
    "Electric guitar",
    "Bass guitar",
    "Bowed strings",
    "Harp",
    "Choir",
    "Brass",
    "Saxophone",
    "Clarinet or oboe",
    "Flute",
    "Synthesizer",
)
"""Sampled instruments that can play in an ensemble; their order determines what the mixer draws."""

CHILDREN: dict[str, tuple[str, ...]] = {
    "Speech": ("Female speech", "Male speech"),
    "Animal": (
        "Cattle",
        "Horse neigh",
        "Hooves",
        "Pig",
        "Sheep or goat",
        "Chicken",
        "Dog or wolf",
        "Elephant",
        "Bird song",
        "Duck or goose",
        "Insects",
    ),
    "Vehicle": ("Engine", "Train", "Aircraft"),
    "Percussion": (*DRUMS, "Mallet percussion"),
    "Music": (*INSTRUMENTS, *DRUMS, "Music track", "Ringtone"),
}
"""The five parents and the leaf classes below each."""

ALONE = (
    "Bell",
    "Bow and arrow",
    "Crowd",
    "Door",
    "Explosion",
    "Fire",
    "Footsteps",
    "Gunshot",
    "Hammer",
    "Machinery",
    "Pickaxe",
    "Rustle",
    "Saw",
    "Screaming",
    "Sword",
    "Thunder",
    "Typing",
    "Water",
    "Wind",
    "Wood chopping",
)
"""Leaf classes without a parent."""

PARENTS: dict[str, tuple[str, ...]] = {
    leaf: tuple(parent for parent, leaves in CHILDREN.items() if leaf in leaves)
    for leaf in sorted({leaf for leaves in CHILDREN.values() for leaf in leaves})
}
"""Parents of each leaf class: a clip that has the class has them too. Classes that are not listed have none."""

LEAVES: tuple[str, ...] = tuple(sorted({*PARENTS, *ALONE}))
"""The 59 classes that recordings belong to."""

CLASSES: tuple[str, ...] = tuple(sorted({*LEAVES, *CHILDREN}))
"""All 64 classes, in the order of the label columns."""

BEDS = ("Wind", "Water", "Fire", "Crowd", "Machinery", "Music track", "Bird song", "Insects", "Engine")
"""Classes that can be the soft background of a whole scene; their order determines what the mixer draws."""

REPEATS: dict[str, tuple[float, float]] = {
    "Footsteps": (0.32, 0.65),
    "Typing": (0.09, 0.3),
    "Sword": (0.4, 1.1),
    "Bow and arrow": (0.5, 1.3),
    "Pickaxe": (0.45, 1.0),
    "Wood chopping": (0.45, 1.0),
    "Hammer": (0.35, 0.9),
    "Gunshot": (0.3, 1.2),
    "Rustle": (0.4, 1.0),
    "Hooves": (0.25, 0.5),
    "Screaming": (0.6, 1.5),
    "Door": (0.8, 1.6),
    "Cattle": (0.8, 2.0),
    "Pig": (0.6, 1.5),
    "Dog or wolf": (0.5, 1.4),
    "Chicken": (0.6, 1.5),
    "Duck or goose": (0.5, 1.3),
    "Fire": (0.3, 0.8),
    "Explosion": (0.9, 2.0),
    "Horse neigh": (1.0, 2.2),
    "Sheep or goat": (0.9, 2.0),
    "Elephant": (1.2, 2.4),
    "Female speech": (0.15, 0.5),
    "Male speech": (0.15, 0.5),
}
"""Classes whose sounds come several times in a row, with the shortest and longest pause between two, in seconds."""

HITS: dict[str, float] = {
    "Bass drum": 0.3,
    "Snare drum": 0.22,
    "Hi-hat": 0.6,
    "Cymbal": 0.08,
    "Tom": 0.15,
    "Hand drum": 0.45,
}
"""Probability that a drum is struck on each of the 16 steps of a bar."""


def with_parents(leaves: set[str]) -> tuple[str, ...]:
    """Return the classes and all their parents, sorted."""
    return tuple(sorted(leaves | {parent for leaf in leaves for parent in PARENTS.get(leaf, ())}))
