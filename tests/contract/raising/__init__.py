"""Which errors a call can end with, read off the code that it runs.

| module | what it knows |
|---|---|
| `things` | what stands for a value: a function with its surroundings, an object of ours, a class |
| `values` | which things an expression may be |
| `errors` | which errors a function raises, those of all it uses included |

The walk begins at the handlers of a server that was put together as for production, so ``self._users`` is the object
that is really there: nothing is guessed where the composition root has decided. Whatever else the code reaches is found
by its annotations.

A function counts as called wherever its name stands, and an error as raised wherever its class does, so callbacks,
tasks, and errors that are returned or kept need no rules of their own. What is found is too much rather than too
little, but for what the code hides from any reader: ``getattr`` with a name that is computed, and what others' code
calls by itself.
"""
