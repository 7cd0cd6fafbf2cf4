"""What fedward does through PySyft: publish a cohort, look at cohorts, hand a plan over, take it up, answer it.

Nothing that arrives is run, and nothing here decides: decisions are records of the data officers (protocol.governance).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from protocol.errors import TrustError
from protocol.governance.pysyft.client import Role, make_client, quiet
from protocol.governance.pysyft.job_files import result_files, submitted_files
from protocol.governance.pysyft.peers import mend_peers
from protocol.governance.pysyft.records import Answer, PublishedCohort, Submission
from protocol.governance.pysyft.share import Share

_ENTRY = "main.py"
_INERT = b'"""A job of PySyft needs a program. Nobody runs this one: the hospital reads plan.yaml and decides."""\n'


class Plane:
    """One party on the share. `email` is its name there, `pins` the fingerprints of the others' keys.

    `home` holds its keys and its copy of what it may see. Raises TrustError if others can read the keys. `mended` says what
    was put aside to begin with, "" for nothing.
    """

    def __init__(self, email: str, home: Path, share: Path, role: Role, pins: Mapping[str, str]) -> None:
        self.email, self._role, self._pins = email, role, dict(pins)
        self.mended = mend_peers(Share(share), email)
        self._client = make_client(email, home, share, role, self._pins)

    @property
    def fingerprint(self) -> str:
        """Of this party's key: what the others compare by telephone and pin."""
        return str(self._client.peer_manager.peer_store.public_key.identity_fingerprint())

    def sync(self) -> tuple[str, ...]:
        """Take what others sent, hand out what is theirs. Returns the senders of messages that were put aside."""
        with quiet():
            self._client.load_peers()
            if self._role == "hospital":
                self._router.send_withheld()
            self._client.sync()
        return tuple(getattr(self._router, "put_aside", ()))

    # ------------------------------------------------------------------------------------------------------ at a hospital

    @property
    def waiting(self) -> tuple[str, ...]:
        """Who has handed over more than was taken now."""
        return tuple(self._router.waiting)

    def requests_for_contact(self) -> tuple[str, ...]:
        """Who asks to be let in and was not yet."""
        with quiet():
            self._client.load_peers()
            return tuple(str(peer.email) for peer in self._router.get_peer_requests())

    def let_in(self, researcher: str) -> None:
        """Accept someone whose key is pinned. Raises TrustError if it is not, or is another."""
        self._check(researcher)
        with quiet():
            self._client.load_peers()
            self._client.approve_peer_request(researcher, verbose=False)
            self._client.load_peers()
        self._check(researcher)

    def publish(self, name: str, mock: Path, manifest: Path, summary: str, researchers: list[str]) -> None:
        """Show a cohort: the file `mock` is for the researchers, `manifest` stays here.

        Raises TrustError if the key of one of them is not pinned; then nothing is shown to anybody.
        """
        self._only_pinned(researchers)
        with quiet():
            self._client.create_dataset(
                name=name, mock_path=mock, private_path=manifest, summary=summary, users=researchers, upload_private=False
            )

    def show_cohorts(self, researchers: list[str]) -> None:
        """Show what was published to these, too. Raises TrustError as `publish` does."""
        self._only_pinned(researchers)
        with quiet():
            for one in self._client.datasets.get_all():
                if str(one.owner) == self.email:
                    self._client.share_dataset(str(one.name), researchers, sync=False)

    def _only_pinned(self, researchers: list[str]) -> None:
        for who in sorted(set(researchers) - self._pins.keys()):
            raise TrustError(
                f"the key of {who} is not pinned, so no cohort is shown to them: they introduce themselves with "
                "`fedward cohorts`, under the key that the policy names."
            )

    def submissions(self) -> tuple[Submission, ...]:
        """Every plan that was handed over. One that cannot be read has no files."""
        with quiet():
            self.sync()
            return tuple(self._read(job) for job in self._client.jobs)

    def answer(self, name: str, researcher: str, *, approved: bool, reason: str) -> None:
        """Tell the researcher what was decided. It decides nothing by itself."""
        with quiet():
            job = self._job(name, researcher)
            (job.approve if approved else job.reject)(reason=reason)
            self._client.sync()

    def return_results(self, name: str, files: Mapping[str, bytes], researcher: str) -> None:
        """Give the researcher the results of an approved job: their bytes by name."""
        self.sync()
        with TemporaryDirectory() as place, quiet():
            folder = Path(place) / "results"
            folder.mkdir()
            for file, data in files.items():
                (folder / Path(file).name).write_bytes(data)
            job = self._job(name, researcher)
            job.accept_by_depositing_result(str(folder))  # once: then the job is done
            job.share_outputs([researcher])
            self._client.sync()

    # ---------------------------------------------------------------------------------------------------- at a researcher

    def ask_for_contact(self, hospital: str) -> None:
        """Ask to be let in."""
        with quiet():
            self._client.load_peers()
            self._client.add_peer(hospital, sync=False, verbose=False)

    def cohorts(self) -> tuple[PublishedCohort, ...]:
        """The cohorts that hospitals show us."""
        self.sync()
        with quiet():
            found = list(self._client.datasets.get_all())
        return tuple(
            PublishedCohort(str(one.owner), str(one.name), str(one.summary or ""), tuple(Path(path) for path in one.mock_files))
            for one in found
        )

    def submit(self, hospital: str, name: str, files: Mapping[str, bytes]) -> bool:
        """Hand a plan over; False if it was before. Raises TrustError if the hospital's key is not the pinned one.

        One that was rejected can be handed over once more: PySyft knows it as another job then.
        """
        self.sync()
        self._check(hospital)
        with quiet():
            rejected = {str(one.name) for one in self._client.jobs if str(one.status) == "rejected"}
        first, number = name, 1
        while name in rejected:
            number += 1
            name = f"{first}-{number}"
        with TemporaryDirectory() as folder:
            for path, data in {_ENTRY: _INERT, **files}.items():
                place = Path(folder) / path
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(data)
            try:
                with quiet():
                    self._client.submit_python_job(hospital, folder, job_name=name, entrypoint=_ENTRY, force_submission=True)
            except FileExistsError:
                return False
        return True

    def answers(self) -> tuple[Answer, ...]:
        """What became of everything that was handed over. Raises TrustError if a hospital's key is not the pinned one."""
        self.sync()
        with quiet():
            jobs = list(self._client.jobs)
            for hospital in {str(job.datasite_owner_email) for job in jobs}:
                self._check(hospital)
            return tuple(
                Answer(
                    hospital=str(job.datasite_owner_email),
                    name=str(job.name),
                    status=str(job.status),
                    reason=str(job.review_reason or ""),
                    results=tuple(sorted(result_files(Path(path) for path in job.output_paths))),
                )
                for job in jobs
            )

    # ------------------------------------------------------------------------------------------------------------- inside

    @property
    def _router(self) -> Any:
        engine = self._client.sync_engine
        return (engine.datasite_owner_syncer if self._role == "hospital" else engine.datasite_watcher_syncer).connection_router

    def _job(self, name: str, researcher: str) -> Any:
        """By name alone PySyft finds the first: anybody can give a job the name of somebody else's."""
        for job in self._client.jobs:
            if str(job.name) == name and str(job.submitted_by) == researcher:
                return job
        raise TrustError(f"{researcher} has handed over no job {name!r}.")

    def _check(self, other: str) -> None:
        from protocol.governance.pysyft.guard import check_pin

        with quiet():
            check_pin(self._router, other, self._pins)

    def _read(self, job: Any) -> Submission:
        try:
            files = dict(submitted_files(Path(job.job_submission_path) / "code"))
        except (OSError, TrustError):
            files = {}
        files.pop(_ENTRY, None)
        return Submission(str(job.name), str(job.submitted_by), files, str(job.status))
