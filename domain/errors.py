"""Every error that Causegraph raises on purpose.

    CausegraphError
    ├── SettingsError             a setting is missing or does not make sense
    ├── StackError                the private local servers cannot be provided or started
    ├── StorageError              MariaDB refused or failed a statement
    │   ├── StorageUnavailable    MariaDB cannot be reached
    │   ├── StorageFull           MariaDB, the spool or the blob folder has no room left
    │   ├── StorageBusy           more was sent than can be stored for now
    │   ├── StorageRefused        MariaDB does not take these values, and never will
    │   └── MigrationNeeded       the database's schema is older or newer than this program
    ├── GraphError                FalkorDB refused or failed a query
    │   └── GraphUnavailable      FalkorDB cannot be reached
    ├── IndexingError             a code base cannot be indexed, or not be found
    ├── EmbeddingError            the embedder cannot be used, or what it returned is no vector
    ├── ModelError                a language model cannot be used, or not for this
    │   ├── ModelUnavailable      its server cannot be reached
    │   ├── ModelBusy             its server has too much to do
    │   ├── ModelTimeout          it took too long to begin, to go on or to end
    │   ├── ModelMissing          its server does not have it
    │   ├── ModelLoadFailed       its server cannot load it
    │   ├── ModelRefused          its server does not take the request as it is
    │   ├── ContextOverflow       the prompt is longer than what the model reads, or was cut by its server
    │   ├── ReplyBroken           the reply broke off
    │   ├── ReplyCut              the reply reached its bound in the middle
    │   ├── ReplyEmpty            the reply holds no text
    │   ├── ReplyInvalid          the reply is not what was asked for, also after a repair
    │   └── BudgetSpent           the investigation has no seconds, tokens or money left for models
    ├── PayloadError              what was sent cannot be understood; nothing of it was stored
    │   ├── PayloadTooLarge
    │   └── UnsupportedMediaType
    ├── ShippingError             the shipper cannot use its state folder, a source or its server
    ├── ClusterError              the Kubernetes API cannot be reached, or does not do what was asked
    │   └── ClusterExpired        it no longer knows what happened since then: list again
    ├── QuestionError             a question or its parameters cannot be answered as asked
    ├── ActionError               an action of a workflow failed, or what it did is not known
    │   └── ActionRefused         an action was not begun: it is not allowed, or not like this
    ├── ChatError                a chat or a tracker cannot be reached, or refuses
    │   └── ChatClosed            the chat lets us not post in that channel
    ├── ApprovalError             an approval cannot be given or used (any more)
    ├── ServerUnreachable         the running server cannot be reached (any more)
    ├── NotFound                  no such record
    └── AccessError               no key, a wrong key, or a key without the needed role

A class's docstring is its default message and says what to do.
"""

from __future__ import annotations


class CausegraphError(Exception):
    """Something went wrong in Causegraph; see the log for details."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or type(self).__doc__ or "")


class SettingsError(CausegraphError):
    """A setting is missing or invalid: see the table of settings in README.md."""


class StackError(CausegraphError):
    """The private local servers could not be started: run `causegraph doctor`."""


class StorageError(CausegraphError):
    """MariaDB refused a statement: run `causegraph doctor`."""


class StorageUnavailable(StorageError):
    """MariaDB cannot be reached: run `causegraph status`, or check CAUSEGRAPH_DATABASE_URL."""


class StorageFull(StorageError):
    """There is no room left on the disk of the database or of the blobs: free some space, then send again."""


class StorageBusy(StorageError):
    """More is being sent than can be stored for now: send this again, more slowly."""


class StorageRefused(StorageError):
    """The database does not take these values: see `causegraph dead-letters list`."""


class MigrationNeeded(StorageError):
    """The database's schema does not fit this program: run `causegraph migrate`."""


class GraphError(CausegraphError):
    """FalkorDB refused a query: run `causegraph doctor`."""


class GraphUnavailable(GraphError):
    """FalkorDB cannot be reached: run `causegraph status`, or check CAUSEGRAPH_GRAPH_URL."""


class IndexingError(CausegraphError):
    """The code cannot be indexed: see `causegraph index status`."""


class EmbeddingError(CausegraphError):
    """The embedder cannot be used: see the settings of embeddings in README.md."""


class ModelError(CausegraphError):
    """The language model cannot be used: see the settings of language models in README.md."""


class ModelUnavailable(ModelError):
    """The model's server cannot be reached: check CAUSEGRAPH_CHAT_URL or CAUSEGRAPH_OLLAMA_URL."""


class ModelBusy(ModelError):
    """The model's server has too much to do: lower CAUSEGRAPH_CHAT_CONCURRENCY."""


class ModelTimeout(ModelError):
    """The model took too long: use a smaller one, or raise CAUSEGRAPH_CHAT_FIRST_SECONDS."""


class ModelMissing(ModelError):
    """The model's server does not have the model: pull it there, or check CAUSEGRAPH_CHAT_MODEL."""


class ModelLoadFailed(ModelError):
    """The model's server could not load the model: see its log."""


class ModelRefused(ModelError):
    """The model's server does not take the request: check CAUSEGRAPH_CHAT_MODEL and CAUSEGRAPH_CHAT_KEY."""


class ContextOverflow(ModelError):
    """The prompt is longer than what the model reads: raise CAUSEGRAPH_CHAT_CONTEXT_TOKENS."""


class ReplyBroken(ModelError):
    """The model's reply broke off: see the log of its server."""


class ReplyCut(ModelError):
    """The model's reply was longer than its bound: raise CAUSEGRAPH_CHAT_ANSWER_TOKENS."""


class ReplyEmpty(ModelError):
    """The model replied without any text: use another model."""


class ReplyInvalid(ModelError):
    """The model's reply was not what it was asked for: use a model that follows instructions better."""


class BudgetSpent(ModelError):
    """The investigation has used up its budget for models: raise CAUSEGRAPH_CHAT_BUDGET_SECONDS or _TOKENS."""


class PayloadError(CausegraphError):
    """The payload cannot be understood; nothing of it was stored."""


class PayloadTooLarge(PayloadError):
    """The payload is larger than CAUSEGRAPH_MAX_BODY_BYTES: send smaller batches."""


class UnsupportedMediaType(PayloadError):
    """Content-Type or Content-Encoding is not one that this address takes."""


class ShippingError(CausegraphError):
    """Logs cannot be shipped from here: see docs/ship.md."""


class ClusterError(CausegraphError):
    """The Kubernetes API cannot be used: check CAUSEGRAPH_KUBERNETES and what its account may list and watch."""


class ClusterExpired(ClusterError):
    """The Kubernetes API no longer knows what happened since then: list again."""


class QuestionError(CausegraphError):
    """The question cannot be answered as asked: name a service, a time or an environment."""


class ActionError(CausegraphError):
    """An action failed: see `causegraph workflow history`."""


class ActionRefused(ActionError):
    """This action is not allowed: see the operator's file, CAUSEGRAPH_REMEDIATION_FILE."""


class ChatError(CausegraphError):
    """A chat or a tracker cannot be reached, or refuses: check its settings in docs/triggers.md."""


class ChatClosed(ChatError):
    """We may not post in this channel: invite the app to it."""


class ApprovalError(CausegraphError):
    """This approval cannot be given or used any more: see `causegraph approvals`."""


class ServerUnreachable(CausegraphError):
    """The server cannot be reached: run `causegraph status`."""


class NotFound(CausegraphError):
    """There is no such record."""


class AccessError(CausegraphError):
    """This needs an API key with the right role: send it as `X-API-Key` or `Authorization: Bearer`."""
