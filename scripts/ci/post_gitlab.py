"""Post the reports of open merge requests as one note each, updated in place.

Run by the job `comment` of .gitlab-ci.yml on the default branch, with PR_REPORT_TOKEN. Pipelines
of forks run in the fork's project and never see it; their artifacts are taken as hostile input.
"""

import json
import os
import sys
import urllib.error
import urllib.request
import uuid
from typing import Any

from report_artifact import ARTIFACT_LIMIT, MARK, Artifact, RefusedError, body, open_artifact

JOB = "report"
FOLDER = "output/pr-report/"
TIMEOUT = 30  # seconds


class GitLab:
    """The few calls of GitLab's REST interface that are needed."""

    def __init__(self, environment: dict[str, str]) -> None:
        """Take token, address and project from the environment."""
        self.api = environment["CI_API_V4_URL"].rstrip("/")
        self.project = int(environment["CI_PROJECT_ID"])
        self._token = environment["PR_REPORT_TOKEN"]

    def call(self, method: str, path: str, value: Any = None) -> Any:
        """Return the JSON of an answer."""
        data = None if value is None else json.dumps(value).encode()
        return json.loads(self.send(method, path, data, "application/json") or b"null")

    def send(
        self, method: str, path: str, data: bytes | None, kind: str, limit: int = 8 << 20
    ) -> bytes:
        """Return the body of an answer, at most `limit` bytes and one."""
        headers = {"Content-Type": kind}
        url = self.api + path  # below the address that the runner gave
        request = urllib.request.Request(url, data=data, headers=headers, method=method)  # noqa: S310
        request.add_unredirected_header("PRIVATE-TOKEN", self._token)  # not to another host
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:  # noqa: S310
                return bytes(answer.read(limit + 1))
        except urllib.error.HTTPError as error:
            raise RefusedError(f"{method} {path}: GitLab answers {error.code}") from error

    def upload(self, name: str, content: bytes) -> str:
        """Add a file to the project's uploads; return its address for Markdown."""
        mark = uuid.uuid4().hex
        head = (
            f'--{mark}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
            "Content-Type: image/png\r\n\r\n"
        )
        data = head.encode() + content + f"\r\n--{mark}--\r\n".encode()
        kind = f"multipart/form-data; boundary={mark}"
        path = f"/projects/{self.project}/uploads"
        return str(json.loads(self.send("POST", path, data, kind))["url"])


def fetch(gitlab: GitLab, pipeline: dict[str, Any]) -> Artifact | None:
    """Return the checked artifact of a pipeline's report; None where it made none."""
    project, number = int(pipeline["project_id"]), int(pipeline["id"])
    jobs = gitlab.call("GET", f"/projects/{project}/pipelines/{number}/jobs?per_page=100")
    found = [job for job in jobs if job["name"] == JOB and job.get("artifacts_file")]
    if not found:
        return None
    path = f"/projects/{project}/jobs/{int(found[0]['id'])}/artifacts"
    data = gitlab.send("GET", path, None, "application/json", ARTIFACT_LIMIT)
    return open_artifact(data, FOLDER)


def report(gitlab: GitLab, number: int, bot: str) -> str:
    """Post the report of one merge request; return what was done."""
    request = f"/projects/{gitlab.project}/merge_requests/{number}"
    pipeline = gitlab.call("GET", request).get("head_pipeline")
    if not pipeline:
        return "no pipeline"
    notes = gitlab.call("GET", f"{request}/notes?per_page=100&sort=asc")
    ours = [n for n in notes if n["author"]["username"] == bot and n["body"].startswith(MARK)]
    commit, log = str(pipeline["sha"]), str(pipeline["web_url"])
    if ours and f"([log]({log}))" in ours[0]["body"]:
        return "posted before"
    artifact = fetch(gitlab, pipeline)
    if artifact is None:
        return "no report yet"
    if artifact.number != number:
        raise RefusedError(f"number.txt holds {artifact.number}, this is {number}")
    addresses = {name: gitlab.upload(name, data) for name, data in artifact.plots.items()}
    text = {"body": body(artifact, commit, log, addresses)}
    if ours:
        gitlab.call("PUT", f"{request}/notes/{int(ours[0]['id'])}", text)
        return "updated"
    gitlab.call("POST", f"{request}/notes", text)
    return "posted"


def main() -> int:
    """Go through the open merge requests; 1 where one was refused."""
    gitlab, failed = GitLab(dict(os.environ)), 0
    try:
        bot = str(gitlab.call("GET", "/user")["username"])
        path = f"/projects/{gitlab.project}/merge_requests?state=opened&per_page=100"
        numbers = [int(item["iid"]) for item in gitlab.call("GET", path)]
    except (RefusedError, urllib.error.URLError) as error:
        print(f"GitLab: {error}", file=sys.stderr)
        return 1
    for number in numbers:
        try:
            print(f"!{number}: {report(gitlab, number, bot)}")
        except (RefusedError, urllib.error.URLError) as error:
            print(f"!{number}: refused: {error}", file=sys.stderr)
            failed = 1
    return failed


if __name__ == "__main__":
    raise SystemExit(main())
