# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Several people press the same button at the same moment."""
import threading
from concurrent.futures import ThreadPoolExecutor
from xmlrpc.client import ServerProxy

from proteus import Model
from test_loop import place_order

from demo import people
from demo.hospital import connect
from demo.process import LOOPBACK

REQUEST = 'gnuhealth.imaging.test.request'
PEOPLE = 3


def generate_results(server, ids, moment):
    "Press Generate Results, on a connection of one's own"
    wizard = server.wizard.wizard.generate.result
    context = {
        'active_model': REQUEST, 'active_id': ids[0], 'active_ids': ids}
    session, state, _ = wizard.create({})
    moment.wait()
    wizard.execute(session, {}, state, context)


def test_generate_results_at_once(hospital):
    "Each request has one result, whoever pressed first"
    with connect(hospital):
        Request = Model.get(REQUEST)
        Result = Model.get('gnuhealth.imaging.test.result')
        requests = []
        for person in people.PATIENTS[:2]:
            requests += place_order(
                person, [test.code for test in people.TESTS])
        Request.click(requests, 'requested')
        ids = [request.id for request in requests]
        moment = threading.Barrier(PEOPLE)
        url = (
            f"http://admin:{hospital.secrets['admin']}@{LOOPBACK}:"
            f"{hospital.trytond.port}/{hospital.state.database}/")
        with ThreadPoolExecutor(PEOPLE) as pool:
            pressed = [
                pool.submit(
                    generate_results,
                    ServerProxy(url, allow_none=True), ids, moment)
                for _ in range(PEOPLE)]
            for press in pressed:
                press.result()
        results = Result.find([('request', 'in', ids)])
        assert sorted(r.request.id for r in results) == sorted(ids)
        assert len({r.number for r in results}) == len(ids)
