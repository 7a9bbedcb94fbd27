"""Every setting, read once from `CAUSEGRAPH_*` or a `.env` file: each has a default, a unit and a sentence."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from domain.errors import SettingsError


def _default_data_dir() -> Path:
    base = os.environ.get("XDG_DATA_HOME")
    return Path(base) / "causegraph" if base else Path.home() / ".local" / "share" / "causegraph"


class Settings(BaseSettings):
    """All settings of Causegraph; the table of docs/settings.md is generated from this class."""

    # What is set to nothing is not set: an empty data folder would mean the working folder.
    model_config = SettingsConfigDict(
        env_prefix="CAUSEGRAPH_", env_file=".env", env_ignore_empty=True, extra="ignore", frozen=True
    )

    data_dir: Path = Field(
        default_factory=_default_data_dir,
        description="Folder of the local stack, the blobs, the trace files and the local API key.",
    )
    database_url: str = Field(
        default="",
        description="MariaDB to use, `mariadb://user:password@host:3306/name`. Empty: the private local one.",
    )
    graph_url: str = Field(
        default="",
        description="FalkorDB to use, `redis://host:6379` or `unix:///path`. Empty: the private local one.",
    )
    host: str = Field(default="127.0.0.1", description="Address that `causegraph serve` listens on.")
    port: int = Field(default=8765, ge=0, le=65535, description="Port that `causegraph serve` listens on; 0 picks one.")
    grpc_listen: str = Field(
        default="127.0.0.1:4317", description="Address that takes OTLP over gRPC, `host:port`; `off` takes none."
    )
    syslog_udp_listen: str = Field(
        default="", description="Address that takes syslog over UDP, such as `0.0.0.0:5514`. Empty: none."
    )
    syslog_tcp_listen: str = Field(
        default="", description="Address that takes syslog over TCP, such as `0.0.0.0:5514`. Empty: none."
    )
    syslog_allow: str = Field(
        default="127.0.0.0/8,::1/128",
        description="Networks whose syslog is taken, separated by commas: syslog knows no keys.",
    )
    syslog_environments: str = Field(
        default="", description="Environments of syslog senders: `10.1.0.0/16=production,10.2.0.0/16=staging`."
    )
    syslog_zone: str = Field(default="UTC", description="Time zone of syslog times that name none.")
    syslog_certificate: Path | None = Field(
        default=None, description="Certificate chain (PEM) with which syslog over TCP becomes TLS."
    )
    syslog_certificate_key: Path | None = Field(
        default=None, description="Key of that certificate (PEM). Empty: it is in the same file."
    )
    sns_topics: str = Field(
        default="",
        description="ARNs of the SNS topics whose signed messages are taken and confirmed, separated by commas.",
    )
    github_secret: str = Field(
        default="", description="Secret of the GitHub webhook that tells of deployments. Empty: none is taken."
    )
    pagerduty_secret: str = Field(
        default="", description="Secrets of PagerDuty's webhook subscriptions, several separated by blanks."
    )
    sentry_secret: str = Field(
        default="", description="Client secrets of Sentry's integrations, several separated by blanks."
    )
    grafana_secret: str = Field(
        default="", description="Secrets with which Grafana's contact points sign, several separated by blanks."
    )
    grafana_timestamp_header: str = Field(
        default="", description="Header in which Grafana sends the time that it signs. Empty: it signs the body alone."
    )
    alert_mappings: Path | None = Field(
        default=None, description="YAML file that says how alerts of other senders are read: see docs/triggers.md."
    )
    kafka_servers: str = Field(
        default="", description="Kafka brokers, `host:9092`, several separated by commas. Needs the extra `kafka`."
    )
    kafka_topics: str = Field(
        default="",
        description="Topics to read and their forms, `app-logs=logs,traces=otlp_traces`: see docs/sources.md.",
    )
    kafka_group: str = Field(default="causegraph", min_length=1, description="Consumer group in Kafka.")
    kafka_environment: str = Field(default="", description="Environment of Kafka's records that name none.")
    kafka_insights_topic: str = Field(
        default="", description="Topic that gets an insight for each finished investigation. Empty: none."
    )
    kafka_options: str = Field(
        default="",
        description="Further options of librdkafka: `security.protocol=SASL_SSL;sasl.username=me;sasl.password=...`.",
    )
    kubernetes: str = Field(
        default="",
        description="Cluster to follow: a kubeconfig file, or `in-cluster`. Empty: none. Needs the extra `kubernetes`.",
    )
    kubernetes_context: str = Field(default="", description="Context of that file. Empty: its current one.")
    kubernetes_namespaces: str = Field(
        default="", description="Namespaces to follow, separated by commas. Empty: all, which needs a cluster role."
    )
    kubernetes_environment: str = Field(default="", description="Environment of what the cluster says.")
    api_key: str = Field(
        default="",
        description="Key for commands that talk to a server. Empty: the local stack's own key.",
    )
    max_body_bytes: int = Field(
        default=64 * 1024 * 1024, gt=0, description="Largest request body, in bytes after decompression."
    )
    database_connections: int = Field(default=6, ge=2, le=64, description="Connections kept to MariaDB by a process.")
    lookback_minutes: int = Field(
        default=60, ge=1, description="How far back, in minutes, a question without a time looks for its symptom."
    )
    edge_lifetime_hours: float = Field(
        default=24.0, gt=0, description="Hours for which an observed edge of the topology holds after it was last seen."
    )
    watermark_seconds: float = Field(
        default=10.0,
        gt=0,
        description="Seconds that a question waits for records acknowledged before it to reach the graph.",
    )
    embedder: str = Field(
        default="builtin",
        description="What turns texts into vectors: `builtin`, `none`, `ollama:MODEL/DIMENSION` or `openai:MODEL/DIMENSION`.",
    )
    ollama_url: str = Field(default="http://127.0.0.1:11434", description="Address of the Ollama server.")
    chat_model: str = Field(
        default="none",
        description="Language model: `none`, `ollama:MODEL` or `openai:MODEL` (any OpenAI-compatible server), "
        "with `@URL` for a server of its own.",
    )
    chat_url: str = Field(
        default="",
        description="Address of the OpenAI-compatible server, `http://host:8080/v1`. Ollama is at CAUSEGRAPH_OLLAMA_URL.",
    )
    chat_key: str = Field(default="", description="API key of the server at CAUSEGRAPH_CHAT_URL.")
    plan_model: str = Field(
        default="", description="Model that understands questions and doubts verdicts. Empty: CAUSEGRAPH_CHAT_MODEL."
    )
    explain_model: str = Field(default="", description="Model that writes answers. Empty: CAUSEGRAPH_CHAT_MODEL.")
    fallback_model: str = Field(
        default="", description="Model that is asked where another cannot be used. Empty: the rules answer alone."
    )
    judge_model: str = Field(
        default="none",
        description="Model that judges each answer after the checks by code, named as CAUSEGRAPH_CHAT_MODEL is. It can only make "
        "what may be done with an answer stricter.",
    )
    chat_context_tokens: int = Field(
        default=8192, ge=1024, description="Tokens that a model reads at once, its reply included."
    )
    chat_answer_tokens: int = Field(default=1024, ge=64, description="Tokens that a reply of a model may have.")
    chat_first_seconds: float = Field(
        default=30.0, gt=0, description="Seconds that a loaded model may take to begin a reply."
    )
    chat_load_seconds: float = Field(
        default=600.0, gt=0, description="Seconds that loading a model may take; questions do not wait for all of it."
    )
    chat_concurrency: int = Field(default=1, ge=1, description="Requests that a process sends to one model at once.")
    chat_budget_seconds: float = Field(
        default=60.0, gt=0, description="Seconds that models may take in one investigation."
    )
    chat_budget_tokens: int = Field(
        default=20_000, ge=0, description="Tokens, read and written, that models may take in one investigation."
    )
    chat_budget_cost: float = Field(
        default=0.0, ge=0, description="Money that models may cost in one investigation; 0: no bound."
    )
    chat_price_prompt: float = Field(
        default=0.0, ge=0, description="Price of a million tokens that a model reads, in your currency."
    )
    chat_price_answer: float = Field(
        default=0.0, ge=0, description="Price of a million tokens that a model writes, in your currency."
    )
    mask_secrets: bool = Field(
        default=True, description="Whether secrets and personal data are masked before a model reads them."
    )
    mask_patterns: tuple[str, ...] = Field(
        default=(), description='Further patterns to mask, as a JSON list of regular expressions: `["CUST-[0-9]+"]`.'
    )
    log_rules: Path | None = Field(
        default=None,
        description="YAML file of rules: which log lines are only counted, and which wake an analysis (docs/sources.md).",
    )
    template_limit: int = Field(
        default=5_000,
        gt=0,
        description="Log templates that one service may use within an hour; lines of more kinds share one template.",
    )
    spool_max_bytes: int = Field(
        default=2 * 1024**3,
        gt=0,
        description="Bytes acknowledged and not yet in the database that the server holds at most; above it, it says 429.",
    )
    spool_wait_seconds: float = Field(
        default=3.0,
        ge=0,
        description="Seconds that a reply to a delivery waits for the database, to count duplicates; it is safe before.",
    )
    retention_days: float = Field(
        default=30.0,
        ge=0,
        description="Days after their arrival for which log events, spans and metric points are kept; 0 keeps them for ever.",
    )
    retention_max_bytes: int = Field(
        default=0,
        ge=0,
        description="Bytes of log events, spans and metric points in the database above which the oldest go; 0: any number.",
    )
    agent_trace_days: float = Field(
        default=90.0,
        ge=0,
        description="Days after their last arrival for which agent traces of other programs are kept; 0 keeps them for ever. "
        "Our own runs stay.",
    )
    notice_symptoms: bool = Field(
        default=True, description="Whether `causegraph serve` notices failing, slow and vanishing requests by itself."
    )
    symptom_investigations_per_hour: int = Field(
        default=6, ge=0, description="How many noticed symptoms are investigated unasked within an hour; 0: none."
    )
    incident_min_alerts: int = Field(
        default=1, ge=1, description="Alerts that it takes to open an incident; fewer are kept and wait for more."
    )
    incident_quiet_minutes: float = Field(
        default=2.0,
        gt=0,
        description="Minutes without a firing alert after which an incident is resolved; what flaps needs ten.",
    )
    alert_investigations_per_hour: int = Field(
        default=12, ge=0, description="How many incidents of alerts are investigated unasked within an hour; 0: none."
    )
    public_url: str = Field(
        default="", description="Address under which people reach the pages, for links in chats. Empty: no links."
    )
    slack_bot_token: str = Field(default="", description="Token of the Slack app's bot, `xoxb-...`. Empty: no Slack.")
    slack_signing_secret: str = Field(
        default="", description="Signing secret of the Slack app, for events over HTTP at `/slack/events`."
    )
    slack_app_token: str = Field(default="", description="App token of the Slack app, `xapp-...`, for socket mode.")
    slack_channel: str = Field(
        default="", description="Id of the Slack channel that is told of incidents. Empty: none."
    )
    slack_roles: str = Field(
        default="*=ask",
        description="Roles of people in Slack, `U0123=admin,U0456=approve,*=ask`; `*` is everyone else.",
    )
    slack_environments: str = Field(
        default="", description="Environments that channels ask about, `C0123=production,*=staging`."
    )
    slack_api_url: str = Field(default="https://slack.com/api/", description="Address of Slack's Web API.")
    chat_webhooks: str = Field(
        default="", description="Other chats that are told of incidents: `mattermost=URL teams=URL json=URL`."
    )
    mattermost_url: str = Field(default="", description="Address of the Mattermost server. Empty: no Mattermost.")
    mattermost_token: str = Field(default="", description="Token of our bot there.")
    mattermost_tokens: str = Field(
        default="", description="Tokens of its outgoing webhooks and slash commands, separated by blanks."
    )
    mattermost_channel: str = Field(default="", description="Id of the channel there that is told of incidents.")
    teams_secrets: str = Field(
        default="", description="Security tokens of outgoing webhooks of Microsoft Teams, separated by blanks."
    )
    teams_url: str = Field(
        default="", description="Address of the Teams workflow that posts our answers. Empty: no questions from Teams."
    )
    json_chat_secrets: str = Field(
        default="", description="Secrets that sign what a bridge to another chat sends and gets, separated by blanks."
    )
    json_chat_url: str = Field(default="", description="Address of that bridge. Empty: none.")
    chat_roles: str = Field(
        default="*=ask", description="Roles of people in these chats, `mattermost:ID=admin,teams:ID=approve,*=ask`."
    )
    chat_environments: str = Field(
        default="", description="Environments that their channels ask about, `mattermost:ID=production,*=staging`."
    )
    follow_up_url: str = Field(
        default="",
        description="Where follow-ups become issues, such as `https://api.github.com/repos/OWNER/NAME/issues`. Empty: nowhere.",
    )
    follow_up_form: str = Field(default="github", description="Form of follow-ups: `github`, `jira:PROJECT` or `json`.")
    follow_up_token: str = Field(
        default="", description="Token of the tracker; `name:token` is sent as basic authentication."
    )
    case_webhook_url: str = Field(
        default="", description="Address that is told of each new case as JSON: see docs/review.md. Empty: none."
    )
    case_webhook_secret: str = Field(
        default="", description="Secret with which what the case webhook gets is signed (HMAC-SHA256). Empty: unsigned."
    )
    case_slack_url: str = Field(
        default="",
        description="Incoming-webhook address of the Slack channel that is told of each new case. Empty: none.",
    )
    tracing: bool = Field(default=True, description="Whether investigations record decision traces.")
    prompt_store: str = Field(
        default="",
        description="Where prompts are kept: a folder, or `s3://bucket/prefix`. Empty: `prompts` in the data folder.",
    )
    s3_endpoint: str = Field(
        default="", description="Address of an S3-compatible server, such as MinIO. Empty: Amazon's."
    )
    s3_region: str = Field(default="", description="Region of the bucket. Empty: what boto3 finds.")
    trace_export_url: str = Field(
        default="",
        description="Address that gets our own traces as OTLP, such as `http://host:4318/v1/traces`. Empty: none.",
    )
    trace_export_headers: str = Field(
        default="", description="Headers sent with them: `Authorization=Basic ...;x-other=1`."
    )
    trace_export_content: bool = Field(
        default=False, description="Whether exported traces hold questions, answers, inputs and outputs."
    )
    runbook_dir: Path | None = Field(
        default=None, description="Folder of your own runbooks, read beside the built-in library."
    )
    runbook_git: str = Field(
        default="",
        description="Git repositories of runbooks, `ADDRESS#BRANCH:FOLDER` or `ADDRESS#COMMIT:FOLDER`, separated by blanks.",
    )
    runbook_hosts: str = Field(
        default="",
        description="Hosts from which the runbooks that alerts name (`runbook_url`) are fetched, separated by commas. Empty: none.",
    )
    workflow_dir: Path | None = Field(
        default=None, description="Folder of your workflows (YAML): see docs/remediation.md. Empty: none is proposed."
    )
    remediation_file: Path | None = Field(
        default=None,
        description="The operator's file: what workflows may do, with which connections, and who approves. Empty: nothing.",
    )

    index_sync_minutes: float = Field(
        default=10.0, ge=0, description="Minutes between two looks of `causegraph serve` at the indexed code; 0: never."
    )
    index_max_file_bytes: int = Field(
        default=4 * 1024 * 1024, gt=0, description="Largest source file that is indexed, in bytes."
    )
    index_max_files: int = Field(default=500_000, gt=0, description="Most files that one code base may hold.")
    index_max_folder_files: int = Field(
        default=20_000, gt=0, description="Most files of one folder of a code base; a fuller one is left out."
    )
    index_clone_depth: int = Field(
        default=500, gt=0, description="Commits that are kept of a repository that is cloned to be indexed."
    )
    index_clone_seconds: float = Field(
        default=600.0, gt=0, description="Seconds after which cloning or fetching a repository is given up."
    )

    @property
    def announces(self) -> bool:
        """Whether any chat is told of incidents, or of runs that were shown there."""
        chats = (
            self.slack_bot_token,
            self.chat_webhooks.strip(),
            self.mattermost_url,
            self.teams_url,
            self.json_chat_url,
        )
        return any(chats)


def load_settings(**overrides: object) -> Settings:
    """Read the settings; raise SettingsError with one line per bad value."""
    try:
        return Settings(**{k: v for k, v in overrides.items() if v is not None})  # type: ignore[arg-type]
    except ValidationError as exc:
        lines = [f"CAUSEGRAPH_{'_'.join(map(str, e['loc'])).upper()}: {e['msg']}" for e in exc.errors()]
        raise SettingsError("Invalid settings:\n  " + "\n  ".join(lines)) from exc
