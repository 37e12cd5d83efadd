"""Enrolls a picture and searches another: python3 python.py URL APP_ID API_KEY ENROLL.jpg PROBE.jpg"""

import base64
import json
import sys

import requests

url, app_id, api_key, enroll, probe = sys.argv[1:]
session = requests.Session()
session.headers = {"App-ID": app_id, "API-Key": api_key}


def ask(path, **request):
    # A request may wait for others: the terminal answers within 60 s, or with 503.
    answer = session.post(url + path, timeout=70, **request)
    print(json.dumps(answer.json()))


with open(enroll, "rb") as picture:
    ask("/v1/face/enroll", data={"subject_id": "anna"}, files={"image": picture})
with open(probe, "rb") as picture:
    image = base64.b64encode(picture.read()).decode()
ask("/v1/face/search", json={"image": image, "limit": 1})
