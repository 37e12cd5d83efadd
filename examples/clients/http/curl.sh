#!/bin/sh
# Enrolls a picture and searches another: sh curl.sh URL APP_ID API_KEY ENROLL.jpg PROBE.jpg
set -eu
url=$1 enroll=$4 probe=$5
ask() {
    curl --silent --show-error --header "App-ID: $app_id" --header "API-Key: $api_key" "$@"
}
app_id=$2 api_key=$3
ask --form subject_id=anna --form "image=@$enroll" "$url/v1/face/enroll"
echo
# The picture itself is the body; its fields are in the query.
ask --header "Content-Type: image/jpeg" --data-binary "@$probe" "$url/v1/face/search?limit=1"
echo
