"""Lines as programs of many kinds write them: format strings with typed places, and values that look like real ones."""

from __future__ import annotations

import random
import re
import string
from collections.abc import Callable, Iterator
from pathlib import Path

_PLACE = re.compile(r"\{([a-z][a-z0-9]*)\}")
_SECTION = "## "

USERS = "root bob alice oracle postgres deploy jenkins www-data git backup ubuntu ec2-user j.smith mmueller svc_etl admin guest test kwong x.li pi nagios".split()
FIRST = "Anna Bob Carlos Dmitri Elena Farid Grace Hiro Ines Jonas Kofi Lena Marek Nadia Omar Petra Ravi Sofia Tomas Wei".split()
LAST = "Smith Müller Garcia Ivanov Rossi Khan Hopper Tanaka Silva Weber Mensah Novak Kowalski Haddad O'Neill Berg Patel Marin Dvorak Chen".split()
NAMES = (
    "orders billing checkout inventory payments catalog search mailer auth gateway reports sessions analytics ledger shipping pricing"
    " web-frontend user-service cart_api media2 prod-eu staging kitchen lobby acme globex initech umbrella hooli".split()
)
COMMON = "main primary-pool data users items events cache images worker jobs default office garage logs metrics".split()
TEXTS = (
    "please call me back", "the printer on floor 3 is broken again", "not enough stock for 2 items", "customer wants a refund asap!!",
    "card declined", "could not connect to server, giving up", "why is this so slow?", "timeout", "I moved to another city last week",
    "file missing", "it worked yesterday", "thanks, all good now", "wrong size - wanted XL", "user reported login problems since Monday",
    "see attached screenshot (page 2)", "connection reset by peer", "no space left on device", "invalid argument", "Permission denied",
    "expected 12 columns but got 11", "unable to parse date", "unexpected end of stream", "password changed by admin", "do not disturb",
    "refund sent, waiting for the bank", "disk quota exceeded on volume", "closing this as a duplicate", "new laptop for the intern",
    "the door is open at night", "server returned an empty response", "bad gateway", "key not found", "needs two approvals before noon",
)  # fmt: skip
GERMAN = (
    "Platte voll", "keine Verbindung zum Server", "Benutzer hat abgebrochen", "Zeitlimit überschritten", "ungültige Artikelnummer",
    "Datei wird von einem anderen Prozess verwendet", "Drucker nicht bereit", "Konto gesperrt", "Prüfsumme falsch", "kein Papier",
)  # fmt: skip
CHINESE = (
    "磁盘空间不足",
    "网络连接失败",
    "用户取消",
    "参数错误",
    "数据库锁等待超时",
    "文件不存在",
    "权限不足",
    "余额不足",
)
SQL = (
    "SELECT * FROM orders WHERE id = 12", "select count(*) from users", "UPDATE items SET qty = 3 WHERE sku = 'A-12'", "COMMIT",
    "INSERT INTO events (id, kind) VALUES (7, 'click')", "DELETE FROM sessions WHERE expires < now()", "BEGIN", "SELECT 1",
    "select u.id, u.name from users u join orders o on o.uid = u.id where o.total > 100 order by o.total desc limit 10",
)  # fmt: skip
COMMANDS = (
    "run-parts /etc/cron.hourly", "cd / && run-parts --report /etc/cron.daily", "/usr/lib/php/sessionclean", "test -x /usr/sbin/anacron",
    "/usr/local/bin/backup.sh --full > /dev/null 2>&1", "python3 /opt/etl/load.py -d yesterday", "[ -x /usr/bin/mrtg ] && mrtg /etc/mrtg.cfg",
    "root /sbin/fstrim -a", "curl -s http://127.0.0.1/ping",
)  # fmt: skip

type Draw = random.Random


def _hex(size: int) -> Callable[[Draw], str]:
    return lambda draw: f"{draw.getrandbits(4 * size):0{size}x}"


def _pick(*values: str) -> Callable[[Draw], str]:
    return lambda draw: draw.choice(values)


def _ip(draw: Draw) -> str:
    return f"{draw.choice((10, 172, 192, 203))}.{draw.randrange(256)}.{draw.randrange(256)}.{draw.randrange(1, 255)}"


def _host(draw: Draw) -> str:
    domain = draw.choice(
        ("example.com", "corp.internal", "acme.io", "mail.example.org", "cluster.local", "uni-hamburg.de")
    )
    return f"{draw.choice(('web', 'db', 'mx', 'api-', 'node', 'static', 'ns'))}{draw.randrange(1, 40)}.{domain}"


def _name(draw: Draw) -> str:
    return draw.choice(NAMES if draw.random() < 0.75 else COMMON)


def _path(draw: Draw) -> str:
    top = draw.choice(("/var/lib", "/srv/data", "/opt/app", "/home/bob", "/tmp", "/usr/share", "/mnt/disk2"))
    return f"{top}/{_name(draw)}/{draw.choice(('data', 'conf.d', 'v2', 'index.html', 'a-b_c.txt', 'core.log', 'x1'))}"


def _url_path(draw: Draw) -> str:
    return draw.choice(
        ("/", "/index.html", f"/api/v1/{_name(draw)}", f"/api/v2/{_name(draw)}/{draw.randrange(10**5)}", "/healthz", f"/static/{_hex(8)(draw)}.js",
         f"/search?q={_name(draw)}&page={draw.randrange(9)}", "/wp-login.php", "/user/profile")
    )  # fmt: skip


def _duration(draw: Draw) -> str:
    return draw.choice(
        (f"{draw.randrange(1, 999)}ms", f"{draw.uniform(1, 60):.3f}s", f"{draw.randrange(1, 59)}m{draw.randrange(60)}s", f"{draw.uniform(1, 999):.6f}ms",
         f"{draw.randrange(1, 23)}h{draw.randrange(60)}m{draw.randrange(60)}s", f"{draw.uniform(1, 900):.1f}µs", f"{draw.uniform(1, 90):.1f}s")
    )  # fmt: skip


def _size(draw: Draw) -> str:
    return (
        f"{draw.uniform(1, 900):.{draw.randrange(4)}f}{draw.choice(('KiB', 'MiB', ' MB', ' kB', 'GB', ' bytes', 'B'))}"
    )


def _class(draw: Draw) -> str:
    return "".join(
        draw.sample(("Order", "User", "Batch", "Cache", "Report", "Price", "Stock", "Mail", "Event"), 2)
    ) + draw.choice(("Service", "Application", "Controller", "Job", "Handler"))


def _package(draw: Draw) -> str:
    return f"{draw.choice(('com.acme', 'org.example', 'io.hooli'))}.{draw.choice(NAMES[:16]).replace('-', '')}.{_class(draw)}"


def _snake(draw: Draw) -> str:
    return "_".join(
        draw.sample(
            ("load", "send", "user", "report", "daily", "order", "sync", "items", "batch", "mail", "refresh"),
            draw.randrange(2, 4),
        )
    )


def _camel(draw: Draw) -> str:
    return draw.choice(("get", "list", "user", "cart", "page")) + "".join(
        draw.sample(("Orders", "Items", "View", "State", "Button", "Total"), 2)
    )


def _mixed(size: int) -> Callable[[Draw], str]:
    return lambda draw: (
        "".join(draw.choices(string.ascii_letters + string.digits, k=size - 2)) + draw.choice(("1x", "Q7", "0k"))
    )


def _uuid(draw: Draw) -> str:
    digits = _hex(32)(draw)
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:]}"


def _full_name(draw: Draw) -> str:
    return f"{draw.choice(FIRST)} {draw.choice(LAST)}"


def _some(draw: Draw, make: Callable[[Draw], str], most: int, between: str = ",") -> str:
    return between.join(make(draw) for _ in range(draw.randrange(1, most + 1)))


def _file_with_blanks(draw: Draw) -> str:
    return draw.choice(
        (
            "Q3 report final.pdf",
            "invoice.pdf",
            "scan 2024-05-01.png",
            "Team photo (1).jpg",
            "notes.txt",
            "budget_v2.xlsx",
            "Über uns.docx",
        )
    )


VALUES: dict[str, Callable[[Draw], str]] = {
    "user": _pick(*USERS),
    "host": _host,
    "hostshort": lambda draw: f"{draw.choice(('web', 'db', 'build-agent-', 'rabbit', 'consul'))}{draw.randrange(1, 30)}",
    "ip": _ip,
    "ipv6": lambda draw: f"{draw.choice(('2001:db8', 'fe80'))}::{_hex(4)(draw)}:{draw.randrange(1, 99)}",
    "mac": lambda draw: ":".join(_hex(2)(draw) for _ in range(6)),
    "port": lambda draw: str(draw.randrange(1024, 65536)),
    "int1": lambda draw: str(draw.randrange(10)),
    "int": lambda draw: str(draw.randrange(10 ** draw.randrange(1, 6))),
    "bigint": lambda draw: str(draw.randrange(10**8, 10**12)),
    "float": lambda draw: f"{draw.uniform(0.01, 500):.{draw.randrange(1, 5)}f}",
    "pct": lambda draw: f"{draw.uniform(1, 100):.{draw.randrange(3)}f}%",
    "size": _size,
    "dur": _duration,
    "clock": lambda draw: f"{draw.randrange(24):02}:{draw.randrange(60):02}:{draw.randrange(60):02}",
    "date": lambda draw: f"19{draw.randrange(50, 99)}-{draw.randrange(1, 13):02}-{draw.randrange(1, 29):02}",
    "datetime": lambda draw: f"2024-{draw.randrange(1, 13):02}-{draw.randrange(1, 29):02} {draw.randrange(10, 24)}:07:33",
    "isodate": lambda draw: f"2024-{draw.randrange(1, 13):02}-{draw.randrange(1, 29):02}T{draw.randrange(10, 24)}:07:33.{draw.randrange(999):03}Z",
    "clfdate": lambda draw: f"{draw.randrange(1, 29):02}/{draw.choice(('Jan', 'May', 'Oct'))}/2024:{draw.randrange(10, 24)}:07:33.{draw.randrange(999):03}",
    "monthday": lambda draw: f"{draw.choice(('Jan', 'Apr', 'Sep'))} {draw.randrange(1, 29)}",
    "uuid": _uuid,
    "hex2": _hex(2), "hexshort": _hex(4), "hexshort6": lambda draw: _hex(5)(draw) + "7", "hex8": _hex(8), "hexbig": _hex(16), "sha1": _hex(40), "sha256": _hex(64),
    "hexdump": lambda draw: " ".join(_hex(2)(draw) for _ in range(draw.randrange(4, 24))),
    "base64": _mixed(43),
    "mixedid": _mixed(12),
    "queueid": lambda draw: f"{draw.getrandbits(40):010X}",
    "name": _name,
    "table": _snake, "column": _snake, "snake": _snake, "snakeword": _snake, "index": lambda draw: f"{_name(draw)}-2024.{draw.randrange(1, 13):02}.{draw.randrange(1, 29):02}",
    "camel": _camel, "bean": lambda draw: (made := _class(draw))[0].lower() + made[1:], "javaclass": _class, "javapkg": _package,
    "exception": lambda draw: draw.choice(("java.lang.IllegalStateException", "java.io.IOException", "java.lang.NullPointerException")),
    "pyexc": _pick("ValueError", "KeyError"),
    "pypath": lambda draw: f"/app/{_snake(draw)}/{_snake(draw)}.py",
    "pymodule": lambda draw: f"{_name(draw).replace('-', '_')}.tasks",
    "pyvalue": _pick("None", "True", "{'rows': 12}", "[1, 2, 3]", "'done'", "0"),
    "path": _path,
    "pathsp": lambda draw: f"/home/bob/{draw.choice(('My Files', 'Q3 numbers', 'data'))}/{_file_with_blanks(draw)}",
    "filesp": _file_with_blanks,
    "file": _pick("hadoop-metrics2.properties", "core-site.xml", "mapred-site.xml", "log4j.properties", "app.yml", "s3.conf"),
    "urlpath": _url_path,
    "url": lambda draw: f"https://{_host(draw)}/{_name(draw)}/{draw.randrange(99)}",
    "httpverb": _pick("GET", "POST", "PUT", "DELETE", "HEAD"),
    "email": lambda draw: f"{draw.choice(USERS)}@{_host(draw)}",
    "fullname": _full_name,
    "freetext": _pick(*TEXTS), "freetextshort": lambda draw: " ".join(draw.choice(TEXTS).split()[:3]),
    "freetextq": lambda draw: f'"{draw.choice(TEXTS)}"',
    "german": _pick(*GERMAN), "chinese": _pick(*CHINESE), "sql": _pick(*SQL), "command": _pick(*COMMANDS),
    "app": lambda draw: draw.choice(("psql", "pgAdmin 4", "PostgreSQL JDBC Driver", "rails", "metabase", "worker-3", "DBeaver")),
    "appname": _pick("Safari", "Mail", "Google Chrome", "Microsoft Word", "Slack", "Xcode", "iTunes"),
    "algorithms": lambda draw: ",".join(draw.sample(("diffie-hellman-group1-sha1", "diffie-hellman-group14-sha1", "ecdh-sha2-nistp256", "curve25519-sha256"), draw.randrange(1, 4))),
    "garbage": _pick("\\003", "GET / HTTP/1.1", "\\026\\003\\001", "MGLNDD_1.2.3.4_22", "SSH-2.0"), "garbagechar": _pick("<", "}", "u", "]", "a"),
    "smtpverb": _pick("AUTH", "EHLO", "CONNECT", "DATA", "RCPT", "UNKNOWN"),
    "topic": lambda draw: draw.choice(("orders", "payments.v2", "clicks", "audit-log", "user_events", "__consumer_offsets")),
    "group": lambda draw: f"{draw.choice(('billing', 'etl', 'search-indexer', 'notify', 'fraud'))}-consumer",
    "topicpartitions": lambda draw: _some(draw, lambda one: f"{one.choice(('orders', 'clicks', 'audit-log', 'payments'))}-{one.randrange(30)}", 5, ", "),
    "topicpath": lambda draw: f"home/{_name(draw)}/{draw.choice(('temp', 'power', 'state'))}",
    "binlog": lambda draw: f"mysql-bin.{draw.randrange(10**6):06}",
    "plugin": _pick("FEDERATED", "transport-netty4", "reindex", "lang-painless", "x-pack-ml", "analysis-icu"),
    "semver": lambda draw: f"{draw.randrange(9)}.{draw.randrange(20)}.{draw.randrange(40)}{draw.choice(('', '', '-rc.1', '-beta2'))}",
    "semver4": lambda draw: f"{draw.randrange(11)}.0.{draw.randrange(30000)}.{draw.randrange(900)}",
    "backend": lambda draw: f"{_name(draw)}_{draw.choice(('be', 'back', 'http'))}",
    "unit": lambda draw: draw.choice(("nginx", "cron", "docker", "postgresql", "ssh", "fwupd", "snapd", "apt-daily", "logrotate", "user@1000", "redis-server")),
    "unitname": _pick("Session 12 of user bob", "Daily apt download activities", "LSB: Apache2 web server", "OpenBSD Secure Shell server", "Network Manager", "Docker Application Container Engine",
                      "Rotate log files", "Load Kernel Modules", "User Manager for UID 1000", "Hostname Service", "/boot/efi"),
    "signal": _pick("TERM", "KILL", "ABRT", "SEGV"),
    "product": _pick("USB Receiver", "Logitech", "SanDisk Ultra", "Flash Drive", "Realtek Audio", "Intel Corp. Wireless", "Xbox Controller"),
    "iface": lambda draw: draw.choice(("eth0", "eth1", "enp3s0", "wlan0", "docker0", "veth1a2b3c4", "br-4f5e6d", "bond0", "en0")),
    "dev": lambda draw: draw.choice(("sda1", "sdb", "nvme0n1p2", "dm-0", "vda1", "loop7")),
    "mountopts": _pick("(null)", "errors=remount-ro", "discard", "data=ordered,barrier=1", "noatime"),
    "comm": lambda draw: draw.choice(("java", "python3", "mysqld", "chrome", "kworker/2:1", "node", "php-fpm7.4", "postgres", "com.docker.backend")),
    "lib": lambda draw: draw.choice(("libc-2.31.so", "libc.so.6", "python3.8", "libssl.so.1.1", "libsystem_kernel.dylib", "ld-2.27.so")),
    "aaop": _pick("open", "exec", "mknod", "file_mmap"),
    "devicename": lambda draw: draw.choice(("iPhone", "Annas-iPad", "android-3f2a1b", "DESKTOP-7QK2L", "printer", "HUAWEI_P30", "MacBook-Pro")),
    "bool": _pick("True", "False"),
    "flag": lambda draw: draw.choice(("dark-mode", "new_checkout", "beta.search", "fastPath", "two-factor")),
    "thread": lambda draw: f"{draw.choice(('main', 'http-nio-8080-exec', 'pool-2-thread', 'scheduling', 'ForkJoinPool-1-worker'))}-{draw.randrange(20)}",
    "nodecard": lambda draw: f"R{draw.randrange(10, 80)}-M{draw.randrange(2)}-N{draw.randrange(10)}",
    "node": lambda draw: f"node-{draw.randrange(300)}",
    "nodelist": lambda draw: draw.choice((f"node-{draw.randrange(9)}", f"node-[{draw.randrange(9)}-{draw.randrange(10, 40)}]", f"node-[{draw.randrange(9)},{draw.randrange(9)}]")),
    "applicationid": lambda draw: f"application_{draw.randrange(10**12, 2 * 10**12)}_{draw.randrange(9999):04}",
    "containerid": lambda draw: f"container_{draw.randrange(10**12, 2 * 10**12)}_{draw.randrange(9999):04}_01_{draw.randrange(10**6):06}",
    "attemptid": lambda draw: f"attempt_{draw.randrange(10**12, 2 * 10**12)}_{draw.randrange(9999):04}_{draw.choice('mr')}_{draw.randrange(10**6):06}_{draw.randrange(4)}",
    "taskid": lambda draw: f"task_{draw.randrange(10**12, 2 * 10**12)}_{draw.randrange(9999):04}_m_{draw.randrange(10**6):06}",
    "rmstate": _pick("ACCEPTED"), "rmevent": _pick("ATTEMPT_REGISTERED"),
    "androidaction": lambda draw: f"android.intent.action.{draw.choice(('TIME_TICK', 'SCREEN_ON', 'SCREEN_OFF', 'BATTERY_CHANGED', 'USER_PRESENT'))}",
    "wakereason": lambda draw: draw.choice(("ARPT (Network)", "EC.LidOpen (Lid Open)", "RTC (Alarm)", "?")),
    "ssid": lambda draw: draw.choice(("CalVisitor", "AirBears2", "Linksys-5G", "FRITZ!Box 7590", "eduroam")),
    "macpath": lambda draw: f"/Applications/{draw.choice(('Safari', 'Mail', 'Google Chrome', 'TextEdit'))}.app/Contents/{draw.choice(('MacOS/run', 'Info.plist', 'XPCServices/a.xpc'))}",
    "promql": lambda draw: draw.choice(("sum(rate(http_requests_total[5m])) by (job)", "up == 0", '{app="checkout"} |= "error"', "node_load1 / 4")),
    "jsonitems": lambda draw: _some(draw, lambda one: f'{{"sku":"{_mixed(6)(one)}","qty":{one.randrange(9)}}}', 4),
    "jsonquery": lambda draw: draw.choice(('{"size":10,"query":{"match_all":{}}}', '{"query":{"term":{"user":"bob"}},"from":20}', '{"size":0,"aggs":{"a":{"max":{"field":"p"}}}}')),
    "dotted": lambda draw: f"{_name(draw)}.{draw.choice(('http.requests', 'jvm.heap.used', 'db.pool.size'))}",
    "pod": lambda draw: f"{draw.choice(NAMES[:16])}-{''.join(draw.choices('bcdf456789', k=9))}7-{''.join(draw.choices('bcdfghjklm24567', k=4))}x",
    "volume": lambda draw: f"{_name(draw)}-{draw.choice(('config', 'data', 'token-x7f2k'))}",
    "image": lambda draw: draw.choice(("nginx:1.25", "registry.example.com/shop/cart:v2.3.1", "redis:7-alpine", "quay.io/acme/api:latest", "postgres:16")),
    "dnstype": _pick("A", "AAAA", "MX", "NS", "TXT"),
    "escause": _pick("api", "auto(bulk api)"),
    "rediscmd": lambda draw: draw.choice(("subscribe", "psync", "get", "hgetall", "monitor")),
    "winservice": _pick("Windows Update", "Print Spooler", "WinHTTP Web Proxy Auto-Discovery Service", "Background Intelligent Transfer Service", "BITS", "Software Protection", "Windows Installer"),
    "starttype": _pick("demand start", "auto start"),
    "caps": lambda draw: draw.choice(("ACME", "CORP", "WORKGROUP", "NT AUTHORITY", "HAMBURG", "ROOT", "PNP")),
    "exe": lambda draw: draw.choice(("chrome.exe", "svchost.exe", "OUTLOOK.EXE", "sqlservr.exe")),
    "dll": lambda draw: draw.choice(("ntdll.dll", "KERNELBASE.dll", "mso.dll", "clr.dll")),
    "winpath": lambda draw: draw.choice(("C:\\Windows\\System32\\svchost.exe", "C:\\Program Files\\Acme Tools\\run.exe", "D:\\data\\x.bat", "\\Driver\\WudfRd")),
    "winargs": lambda draw: draw.choice(("/c dir", "-k netsvcs -p", "--type=renderer --lang=de", "/quiet /norestart")),
    "winpackage": lambda draw: f"Package_for_KB{draw.randrange(2000000, 5000000)}~31bf3856ad364e35~amd64~~6.1.1.{draw.randrange(9)}",
    "cc": _pick("DE", "US", "FR", "CN"), "company": _pick("Acme", "Globex", "Hooli", "Initech"),
    "measure": _pick("C", "hPa", "lux", "ppm", "W"),
    "jobname": lambda draw: draw.choice(("build-all", "deploy » prod", "nightly", "shop/main", "unit tests")),
    "branch": lambda draw: draw.choice(("main", "develop", "feature/cart-2", "release/1.2", "fix_login")),
}  # fmt: skip


def read_formats(path: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield the programs of a file with their formats."""
    program, formats = "", list[str]()
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith(_SECTION):
            if formats:
                yield program, formats
            program, formats = line.removeprefix(_SECTION), []
        elif line and not line.startswith("# "):
            formats.append(line)
    if formats:
        yield program, formats


def write_line(form: str, draw: random.Random) -> str:
    """Return one line of a format."""
    return _PLACE.sub(lambda place: VALUES[place[1]](draw), form)


def write_lines(formats: list[str], each: int, seed: int) -> Iterator[tuple[str, str]]:
    """Yield lines of a program in any order, each with its format; some formats are written often, some seldom."""
    draw = random.Random(seed)
    lines = [
        (form, write_line(form, draw))
        for form in formats
        for _ in range(draw.choice((each // 4, each, each, 4 * each)))
    ]
    draw.shuffle(lines)
    yield from lines
